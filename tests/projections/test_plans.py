"""The main lists are read from indexes, in their order: a page costs the same however many rows there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.domain.user import UserStatus
from app.eventstore.database import ROLE, Database, Query, compiled
from app.eventstore.event_filter import EventFilter, first_events
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.eventstore.store import EventStore
from projections import logins, members, roles, users
from projections.engine import ProjectionEngine
from projections.logins import LoginFilter
from projections.roles import RoleFilter, RoleOrder, RoleOrderField
from projections.users import UserFilter, UserOrder, UserOrderField
from tests.projections.histories import NOON

pytestmark = pytest.mark.anyio

ACME = UUID("00000000-0000-4000-8000-000000000001")
ANN = UUID("00000000-0000-4000-8000-000000000002")
ADMIN = UUID("00000000-0000-4000-8000-000000000003")
LAST = NOON + timedelta(minutes=5000)
NOT_FROM_AN_INDEX = {"Seq Scan", "Sort", "Incremental Sort"}

USERS = """
    INSERT INTO read.{table}
    SELECT gen_random_uuid(), CASE n % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, 1, n, 'user' || n, n || '@example.org',
           NULL, NULL, ARRAY[gen_random_uuid()], false, NULL, NULL, 0, NULL, NULL, $2::timestamptz + make_interval(mins => n),
           $2::timestamptz + make_interval(mins => -n), NULL, CASE WHEN n % 50 = 0 THEN 'LOCKED' ELSE 'ACTIVE' END,
           'user' || n, n || '@example.org' {span}
    FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY hashint4(n)) shuffled
"""
SAME_USERS = "UPDATE read.users_history history SET id = users.id FROM read.users WHERE history.position = users.position"
ROLES = """
    INSERT INTO read.roles
    SELECT gen_random_uuid(), CASE n % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, 1, n, 'role' || n, '{}',
           now() + make_interval(mins => n), now(), NULL, 'role' || n
    FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY hashint4(n)) shuffled
"""
LOGINS = """
    INSERT INTO read.logins
    SELECT CASE n % 100 WHEN 1 THEN $2::uuid ELSE gen_random_uuid() END, gen_random_uuid(),
           CASE n % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, n, $3::timestamptz + make_interval(mins => n), n % 50 > 0
    FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY hashint4(n)) shuffled
"""
MEMBERS = """
    INSERT INTO read.role_members
    SELECT id, CASE position % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, position + ended,
           CASE ended WHEN 0 THEN NULL ELSE position + ended + 1 END, tenant_id, created_at - make_interval(days => ended),
           CASE ended WHEN 0 THEN NULL ELSE created_at - make_interval(days => ended - 1) END, false
    FROM read.users, generate_series(0, 3) ended ORDER BY hashint8(position)
"""
NAMES = """
    INSERT INTO read.user_names
    SELECT id, position, NULL, tenant_id, created_at, NULL, username_key, email_key, username_key || E'\\n' || email_key || E'\\n'
    FROM read.users ORDER BY hashint8(position)
"""
EVENTS = """
    INSERT INTO es.events
    SELECT n, gen_random_uuid(), gen_random_uuid(), 1, 'TenantCreated', 1,
           CASE WHEN n <= $3 THEN $1::uuid ELSE gen_random_uuid() END, '{"name": "Acme"}',
           jsonb_strip_nulls(jsonb_build_object(
               'actor', 'actor' || n % 500, 'correlationId', 'work' || n % 500,
               'causationId', CASE WHEN n % 10 = 0 THEN 'cause' || n % 100 END
           )), $2::timestamptz, $2::timestamptz
    FROM generate_series(1, 5000) n
"""


class Plans:
    """Reads that note how PostgreSQL answers each query."""

    walled = False

    def __init__(self, database: Database, tenant_id: UUID | None = None) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._steps: set[str] = set()
        self._indexes: set[str] = set()

    def taken_steps(self) -> set[str]:
        """The kinds of steps since this was last asked."""
        steps, self._steps = self._steps, set()
        return steps

    def taken_indexes(self) -> set[str]:
        """The indexes used since this was last asked; that of the watermarks, which tells what a position means, aside."""
        indexes, self._indexes = self._indexes, set()
        return indexes - {"watermarks_pkey"}

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        sql, values = compiled(query, args, self._tenant_id)
        (plan,) = json.loads(await self._database.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values))
        self.note(plan["Plan"])
        return await self._database.fetch(sql, *values)

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: Query, *args: Any) -> Any:
        return (await self.fetch(query, *args))[0][0]

    def note(self, step: dict[str, Any]) -> None:
        """Count a step as taken, and those below it."""
        self._steps.add(step["Node Type"])
        self._indexes |= {step["Index Name"]} if "Index Name" in step else set()
        for part in step.get("Plans", ()):
            self.note(part)


@pytest.fixture
async def plans(database: Database, engine: ProjectionEngine) -> Plans:
    """A read model with so many rows that an index pays."""
    await database.fetch(USERS.format(table="users", span=""), ACME, NOON)
    await database.fetch(USERS.format(table="users_history", span=", n, NULL, $2, NULL"), ACME, NOON)
    await database.fetch(
        "UPDATE read.users_history history SET id = now.id FROM read.users now WHERE history.position = now.position"
    )
    await database.fetch(ROLES, ACME)
    await database.fetch(LOGINS, ACME, ANN, NOON)
    await database.fetch(MEMBERS, ADMIN)
    await database.fetch(NAMES)
    await database.fetch("INSERT INTO es.watermarks (position, earliest, latest) VALUES (5000, $1, $2)", NOON, LAST)
    for table in ("users_g1", "users_history_g1", "roles_g1", "logins_g1", "role_members_g1", "user_names_g1"):
        await database.fetch(f"VACUUM (ANALYZE) read.{table}")
    return Plans(database)


async def test_users_in_each_order(plans: Plans) -> None:
    for field, tenant_id, descending in product(UserOrderField, (None, ACME), (False, True)):
        filter, order = UserFilter(tenant_id=tenant_id), [UserOrder(field, descending)]
        page = await users.page(plans, filter, order, None, PageRequest(first=50))
        await users.page(plans, filter, order, None, PageRequest(first=50, after=page.cursors[-1]))
        await users.page(plans, filter, order, None, PageRequest(last=50))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        of_tenant = "tenant_id_" if tenant_id else ""
        indexes = {f"users_g1_{of_tenant}{field.value}_id_idx"}
        if field is UserOrderField.UPDATED_AT:
            indexes = {f"users_history_g1_{of_tenant}octave_updated_at_id_idx", "users_g1_pkey"}
        assert plans.taken_indexes() == indexes


async def test_users_as_of_a_moment_in_each_order(plans: Plans) -> None:
    tables: list[tuple[UserOrderField, str]] = [
        (UserOrderField.CREATED_AT, "users_g1_{of_tenant}created_at_id_idx"),
        (UserOrderField.USERNAME, "users_g1_{of_tenant}username_key_id_idx"),
        (UserOrderField.EMAIL, "user_names_g1_{of_tenant}email_key_user_id_since_idx"),
    ]
    moments = (Moment(position=4000), Moment(timestamp=LAST))
    for as_of, (field, index), tenant_id, descending in product(moments, tables, (None, ACME), (False, True)):
        filter, order = UserFilter(tenant_id=tenant_id), [UserOrder(field, descending)]
        page = await users.page(plans, filter, order, as_of)
        assert len(page.items) == 20
        await users.page(plans, filter, order, as_of, PageRequest(after=page.cursors[-1]))
        await users.page(plans, filter, order, as_of, PageRequest(last=20))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        assert plans.taken_indexes() == {index.format(of_tenant="tenant_id_" if tenant_id else ""), "users_history_g1_pkey"}


async def test_users_by_last_change_as_of_a_moment(plans: Plans) -> None:
    for as_of, tenant_id, descending in product((Moment(position=4000), Moment(timestamp=LAST)), (None, ACME), (False, True)):
        filter, order = UserFilter(tenant_id=tenant_id), [UserOrder(UserOrderField.UPDATED_AT, descending)]
        page = await users.page(plans, filter, order, as_of)
        assert len(page.items) == 20
        await users.page(plans, filter, order, as_of, PageRequest(after=page.cursors[-1]))
        assert plans.taken_indexes() == {f"users_history_g1_{'tenant_id_' if tenant_id else ''}octave_updated_at_id_idx"}


async def test_users_of_rare_statuses_as_of_a_moment(plans: Plans) -> None:
    """Whether a status is asked for or the other one ruled out, and however few have it."""
    filters: list[dict[str, Any]] = [
        {"status": UserStatus.LOCKED},
        {"status": UserStatus.DELETED},
        {"not_": UserFilter(status=UserStatus.ACTIVE)},
        {"or_": (UserFilter(status=UserStatus.DELETED), UserFilter(status=UserStatus.LOCKED))},
    ]
    moments = (Moment(position=4000), Moment(timestamp=LAST))
    for as_of, given, field, tenant_id in product(moments, filters, UserOrderField, (None, ACME)):
        filter, order = UserFilter(tenant_id=tenant_id, **given), [UserOrder(field)]
        for request in (PageRequest(first=50), PageRequest(last=50)):
            page = await users.page(plans, filter, order, as_of, request)
            assert_by_status(plans)
        if page.cursors:
            await users.page(plans, filter, order, as_of, PageRequest(before=page.cursors[0], last=50))
            assert_by_status(plans)
        await users.count(plans, filter, as_of)
        assert_by_status(plans)


def assert_by_status(plans: Plans) -> None:
    indexes = {index.removeprefix("users_history_g1_status_") for index in plans.taken_indexes()}
    assert indexes
    assert indexes <= {"created_at_id_idx", "username_key_id_idx", "tenant_id_created_at_id_idx"}
    assert "Seq Scan" not in plans.taken_steps()


async def test_each_condition_has_an_index(plans: Plans) -> None:
    conditions: list[tuple[dict[str, Any], str]] = [
        ({"username": "User77"}, "users_g1_username_key_id_idx"),
        ({"username_prefix": "user77"}, "users_g1_username_key_id_idx"),
        ({"email": "77@example.org"}, "users_g1_email_key_id_idx"),
        ({"status": UserStatus.LOCKED, "tenant_id": ACME}, "users_g1_status_tenant_id_created_at_id_idx"),
        ({"role_id": uuid4()}, "users_g1_role_ids_idx"),
        ({"role_name": "role7"}, "users_g1_role_ids_idx"),
        ({"search": "r477"}, "user_names_g1_search_text_idx"),
        ({"ids": (uuid4(), uuid4())}, "users_g1_pkey"),
    ]
    for given, index in conditions:
        await users.count(plans, UserFilter(**given))
        assert ("Seq Scan" in plans.taken_steps(), index in plans.taken_indexes()) == (False, True), given
    of_the_moment: list[tuple[dict[str, Any], str]] = [
        ({"username": "User77"}, "users_g1_username_key_id_idx"),
        ({"username_prefix": "user77"}, "users_g1_username_key_id_idx"),
        ({"email": "77@example.org"}, "user_names_g1_email_key_user_id_since_idx"),
        ({"search": "r477"}, "user_names_g1_search_text_idx"),
    ]
    for given, index in of_the_moment:
        await users.count(plans, UserFilter(**given), Moment(position=4000))
        assert ("Seq Scan" in plans.taken_steps(), index in plans.taken_indexes()) == (False, True), given


async def test_lookups_now_and_then(plans: Plans) -> None:
    await users.by_ids(plans, [uuid4(), uuid4()])
    await users.by_id(plans, uuid4(), Moment(position=7))
    await users.by_username(plans, "user7", as_of=Moment(position=7))
    assert "Seq Scan" not in plans.taken_steps()
    assert plans.taken_indexes() == {"users_g1_pkey", "users_g1_username_key_id_idx", "users_history_g1_pkey"}


async def test_roles_in_each_order(plans: Plans) -> None:
    for field in RoleOrderField:
        await roles.page(plans, RoleFilter(tenant_id=ACME), [RoleOrder(field)])
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        assert plans.taken_indexes() == {f"roles_g1_tenant_id_{field.value}_id_idx"}


async def test_logins_by_each_condition(plans: Plans) -> None:
    hour = {"occurred_after": LAST - timedelta(hours=1), "occurred_before": LAST}
    conditions: list[tuple[dict[str, Any], str]] = [
        ({}, "occurred_at_id_idx"),
        (hour, "occurred_at_id_idx"),
        ({"user_id": ANN}, "user_id_occurred_at_id_idx"),
        ({"user_id": ANN, "succeeded": True, "up_to_position": 4000}, "user_id_occurred_at_id_idx"),
        ({"tenant_id": ACME}, "tenant_id_occurred_at_id_idx"),
        ({"tenant_id": ACME, "succeeded": True}, "tenant_id_occurred_at_id_idx"),
        ({"tenant_id": ACME, "succeeded": False}, "succeeded_tenant_id_occurred_at_id_idx"),
        ({"succeeded": False, **hour}, "succeeded_occurred_at_id_idx"),
    ]
    for given, index in conditions:
        page = await logins.page(plans, LoginFilter(**given), PageRequest(first=1))
        await logins.page(plans, LoginFilter(**given), PageRequest(first=1, after=page.cursors[-1]))
        await logins.page(plans, LoginFilter(**given), PageRequest(last=1))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX), given
        assert plans.taken_indexes() == {f"logins_g1_{index}"}, given


async def test_members_of_a_role_now_and_then(plans: Plans) -> None:
    tables: list[tuple[Moment | None, str, str]] = [
        (None, "role_id_since_user_id_idx", "users_g1_pkey"),
        (Moment(position=4000), "role_id_since_user_id_until_idx", "users_history_g1_pkey"),
        (Moment(timestamp=LAST), "role_id_since_user_id_until_idx", "users_history_g1_pkey"),
    ]
    for as_of, index, of_users in tables:
        page = await members.page(plans, ADMIN, as_of)
        assert len(page.items) == 20
        await members.page(plans, ADMIN, as_of, PageRequest(after=page.cursors[-1]))
        await members.page(plans, ADMIN, as_of, PageRequest(last=20))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX), as_of
        assert plans.taken_indexes() == {f"role_members_g1_{index}", of_users}, as_of
        for request in (PageRequest(), PageRequest(last=20)):
            pages = await members.first_pages(plans, [ADMIN, *(uuid4() for _ in range(99))], as_of, request)
            assert pages[ADMIN] == await members.page(plans, ADMIN, as_of, request)
            assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX), as_of
            assert plans.taken_indexes() == {f"role_members_g1_{index}", of_users}, as_of
        await members.counts(plans, [ADMIN, uuid4()], as_of)
        assert "Seq Scan" not in plans.taken_steps(), as_of
        assert plans.taken_indexes() <= {f"role_members_g1_{index}" for _, index, _ in tables}, as_of


@pytest.mark.parametrize("of_acme", [2000, 5000], ids=["a tenant of long ago", "the only tenant"])
async def test_events_of_each_filter_are_read_from_one_index(plans: Plans, store: EventStore, of_acme: int) -> None:
    await store.database.fetch("SELECT es.cover(5000)")
    await store.database.fetch(EVENTS, ACME, NOON, of_acme)
    await store.database.fetch("VACUUM (ANALYZE) es.events_from_1")
    rare = ("UserDeleted", "RoleRetired")
    index_of: list[tuple[EventFilter, str]] = [
        (EventFilter(types=("TenantCreated",)), "type_position"),
        (EventFilter(types=rare), "type_position"),
        (EventFilter(tenant_id=ACME), "tenant_id_position"),
        (EventFilter(tenant_id=ACME, types=rare), "tenant_id_type_position"),
        (EventFilter(actor="actor7"), "actor_type_position"),
        (EventFilter(actor="actor7", types=rare), "actor_type_position"),
        (EventFilter(actor="actor7", tenant_id=ACME), "tenant_id_actor_type_position"),
        (EventFilter(actor="actor7", tenant_id=ACME, types=rare), "tenant_id_actor_type_position"),
        (EventFilter(correlation_id="work77"), "correlation_id_type_position"),
        (EventFilter(correlation_id="work77", actor="actor77", tenant_id=ACME), "correlation_id_type_position"),
        (EventFilter(correlation_id="work77", types=rare), "correlation_id_type_position"),
        (EventFilter(causation_id="cause30"), "causation_id_type_position"),
        (EventFilter(causation_id="cause30", correlation_id="work77"), "causation_id_type_position"),
        (EventFilter(stream_id=ANN, types=rare), "stream_id_version"),
        (EventFilter(stream_id=ANN, tenant_id=ACME, actor="actor7"), "stream_id_version"),
        (EventFilter(stream_id=ANN), "stream_id_version"),
    ]
    for (filter, index), newest_first in product(index_of, (False, True)):
        page = await store.events(filter, PageRequest(first=2), newest_first=newest_first, reads=plans)
        after = page.cursors[-1] if page.items else None
        await store.events(filter, PageRequest(first=2, after=after), newest_first=newest_first, reads=plans)
        await store.events(filter, PageRequest(last=2), newest_first=newest_first, reads=plans)
        assert plans.taken_steps().isdisjoint({"Seq Scan", "Incremental Sort"}), filter
        assert plans.taken_indexes() - {"streams_pkey"} == {f"events_from_1_{index}_idx"}, filter
    behind_the_wall = Plans(store.database, ACME)
    assert await store.of_tenant(ACME).head(behind_the_wall) == of_acme
    assert behind_the_wall.taken_indexes() == {"events_from_1_tenant_id_position_idx"}


async def test_row_security_keeps_postgresql_from_no_index(plans: Plans, store: EventStore) -> None:
    await store.database.fetch("SELECT es.cover(5000)")
    await store.database.fetch(EVENTS, ACME, NOON, 2000)
    await store.database.fetch("VACUUM (ANALYZE) es.events_from_1")
    index_of: list[tuple[EventFilter, str, str]] = [
        (EventFilter(tenant_id=ACME), "tenant_id", "position"),
        (EventFilter(tenant_id=ACME, types=("UserDeleted",)), "tenant_id_type", "type"),
        (EventFilter(tenant_id=ACME, actor="actor7"), "tenant_id_actor_type", "actor, type"),
        (EventFilter(tenant_id=ACME, correlation_id="work77"), "correlation_id_type", "correlation_id, type"),
        (EventFilter(tenant_id=ACME, causation_id="cause30"), "causation_id_type", "causation_id, type"),
    ]
    for filter, index, columns in index_of:
        sql, values = compiled(*first_events(filter, limit=3), tenant_id=ACME)
        async with store.database.connection() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {ROLE}; SET LOCAL hindsight.tenant = '{ACME}'")
            (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values))
        plans.note(plan["Plan"])
        assert plans.taken_indexes() == {f"events_from_1_{index}_position_idx"}, filter
        assert columns in " ".join(conditions_in(plan["Plan"])), filter


def conditions_in(step: dict[str, Any]) -> Iterator[str]:
    """By what a plan goes along its indexes."""
    yield step.get("Index Cond", "")
    for part in step.get("Plans", ()):
        yield from conditions_in(part)
