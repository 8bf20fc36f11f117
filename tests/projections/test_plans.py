"""The main lists are read from indexes, in their order: a page costs the same however many rows there are."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.domain.user import UserStatus
from app.eventstore.database import Database, Query, compiled
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from projections import roles, users
from projections.engine import ProjectionEngine
from projections.roles import RoleFilter, RoleOrder, RoleOrderField
from projections.users import UserFilter, UserOrder, UserOrderField
from tests.projections.histories import NOON

pytestmark = pytest.mark.anyio

ACME = UUID("00000000-0000-4000-8000-000000000001")
LAST = NOON + timedelta(minutes=5000)
NOT_FROM_AN_INDEX = {"Seq Scan", "Sort", "Incremental Sort"}

USERS = """
    INSERT INTO read.{table}
    SELECT gen_random_uuid(), CASE n % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, 1, n, 'user' || n, n || '@example.org',
           NULL, NULL, ARRAY[gen_random_uuid()], false, NULL, NULL, 0, NULL, NULL, $2::timestamptz + make_interval(mins => n),
           $2::timestamptz + make_interval(mins => -n), NULL, CASE WHEN n % 50 = 0 THEN 'LOCKED' ELSE 'ACTIVE' END,
           'user' || n, n || '@example.org', 'user' || n || E'\\n' || n || '@example.org' {span}
    FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY hashint4(n)) shuffled
"""
ROLES = """
    INSERT INTO read.roles
    SELECT gen_random_uuid(), CASE n % 10 WHEN 0 THEN $1::uuid ELSE gen_random_uuid() END, 1, n, 'role' || n, '{}',
           now() + make_interval(mins => n), now(), NULL, 'role' || n
    FROM (SELECT n FROM generate_series(1, 5000) n ORDER BY hashint4(n)) shuffled
"""


class Plans:
    """Reads that note how PostgreSQL answers each query."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps: set[str] = set()
        self._indexes: set[str] = set()

    def taken_steps(self) -> set[str]:
        """The kinds of steps since this was last asked."""
        steps, self._steps = self._steps, set()
        return steps

    def taken_indexes(self) -> set[str]:
        """The indexes used since this was last asked."""
        indexes, self._indexes = self._indexes, set()
        return indexes

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        sql, values = compiled(query, args)
        (plan,) = json.loads(await self._database.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values))
        self._note(plan["Plan"])
        return await self._database.fetch(sql, *values)

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: Query, *args: Any) -> Any:
        return (await self.fetch(query, *args))[0][0]

    def _note(self, step: dict[str, Any]) -> None:
        self._steps.add(step["Node Type"])
        self._indexes |= {step["Index Name"]} if "Index Name" in step else set()
        for part in step.get("Plans", ()):
            self._note(part)


@pytest.fixture
async def plans(database: Database, engine: ProjectionEngine) -> Plans:
    """A read model with so many rows that an index pays."""
    await database.fetch(USERS.format(table="users", span=""), ACME, NOON)
    await database.fetch(USERS.format(table="users_history", span=", n, NULL, $2, NULL"), ACME, NOON)
    await database.fetch(ROLES, ACME)
    for table in ("users_g1", "users_history_g1", "roles_g1"):
        await database.fetch(f"VACUUM (ANALYZE) read.{table}")
    return Plans(database)


async def test_users_in_each_order(plans: Plans) -> None:
    for field, tenant_id, descending in product(UserOrderField, (None, ACME), (False, True)):
        filter, order = UserFilter(tenant_id=tenant_id), [UserOrder(field, descending)]
        page = await users.page(plans, filter, order, None, PageRequest(first=50))
        await users.page(plans, filter, order, None, PageRequest(first=50, after=page.cursors[-1]))
        await users.page(plans, filter, order, None, PageRequest(last=50))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        assert plans.taken_indexes() == {f"users_g1_{'tenant_id_' if tenant_id else ''}{field.value}_id_idx"}


async def test_users_as_of_a_moment(plans: Plans) -> None:
    for as_of, tenant_id in product((Moment(position=4000), Moment(timestamp=LAST)), (None, ACME)):
        page = await users.page(plans, UserFilter(tenant_id=tenant_id), as_of=as_of)
        assert len(page.items) == 20
        await users.page(plans, UserFilter(tenant_id=tenant_id), as_of=as_of, request=PageRequest(after=page.cursors[-1]))
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        assert plans.taken_indexes() == {f"users_history_g1_{'tenant_id_' if tenant_id else ''}created_at_id_valid_from_idx"}


async def test_each_condition_has_an_index(plans: Plans) -> None:
    conditions: list[tuple[dict[str, Any], str]] = [
        ({"username": "User77"}, "username_key_id_idx"),
        ({"username_prefix": "user77"}, "username_key_id_idx"),
        ({"email": "77@example.org"}, "email_key_id_idx"),
        ({"status": UserStatus.LOCKED, "tenant_id": ACME}, "status_tenant_id_created_at_id_idx"),
        ({"role_id": uuid4()}, "role_ids_idx"),
        ({"role_name": "role7"}, "role_ids_idx"),
        ({"search": "r477"}, "search_text_idx"),
        ({"ids": (uuid4(), uuid4())}, "pkey"),
    ]
    for given, index in conditions:
        await users.count(plans, UserFilter(**given))
        assert ("Seq Scan" in plans.taken_steps(), f"users_g1_{index}" in plans.taken_indexes()) == (False, True), given


async def test_lookups_now_and_then(plans: Plans) -> None:
    await users.by_ids(plans, [uuid4(), uuid4()])
    await users.by_id(plans, uuid4(), Moment(position=7))
    await users.by_username(plans, "user7", as_of=Moment(position=7))
    assert "Seq Scan" not in plans.taken_steps()
    assert plans.taken_indexes() == {"users_g1_pkey", "users_history_g1_pkey", "users_history_g1_username_key_id_valid_from_idx"}


async def test_roles_in_each_order(plans: Plans) -> None:
    for field in RoleOrderField:
        await roles.page(plans, RoleFilter(tenant_id=ACME), [RoleOrder(field)])
        assert plans.taken_steps().isdisjoint(NOT_FROM_AN_INDEX)
        assert plans.taken_indexes() == {f"roles_g1_tenant_id_{field.value}_id_idx"}
