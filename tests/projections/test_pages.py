"""Every filter, order and moment: paging either way gives each row once, and just the rows that a plain search finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Aggregate, Event, Stream
from app.domain.names import normalise
from app.domain.role import ROLE, Role, RoleDefined, RoleRetired
from app.domain.tenant import TENANT, Tenant, TenantCreated, TenantRenamed, TenantStatus, TenantSuspended
from app.domain.user import USER, User, UserStatus
from app.domain.user_events import (
    AccountLocked,
    AccountUnlocked,
    EmailChanged,
    RolesAssigned,
    UserCreated,
    UserDeleted,
    UserRestored,
    UserUpdated,
)
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import roles, tenants, users
from projections.engine import ProjectionEngine
from projections.roles import RoleFilter, RoleOrder, RoleOrderField
from projections.tenants import TenantFilter, TenantOrder, TenantOrderField
from projections.users import UserFilter, UserOrder, UserOrderField
from tests.projections.histories import NOON, History, folded

pytestmark = pytest.mark.anyio

S = TypeVar("S")

RANDOM = Random(7)
IDS = [UUID(int=RANDOM.getrandbits(128), version=4) for _ in range(40)]
TENANT_IDS, ROLE_IDS, USER_IDS = IDS[:3], IDS[3:8], IDS[8:]
NAMES = ["ada", "Ada_1", "adä", "a%da", "bob", "bob\\", "Zoë", "zoe", "émile", "ﬁn", "ß", "SS", "日本", "x" * 30]
LENGTH = 160
WATERMARKS_ARE_NEAR = "CREATE OR REPLACE FUNCTION es.watermark_span() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7::bigint'"
HOURS = st.integers(-1, LENGTH // 3).map(lambda hours: NOON + timedelta(hours=hours))


def any_event(kind: type[Event], random: Random) -> Event:
    name, role_ids = random.choice(NAMES), tuple(random.sample(ROLE_IDS, random.randint(0, 3)))
    made: dict[type[Event], Callable[[], Event]] = {
        UserCreated: lambda: UserCreated(
            username=name, email=f"{name}@example.org", full_name=random.choice([None, "Ada Lovelace"])
        ),
        UserUpdated: lambda: UserUpdated(full_name=f"{name} %"),
        EmailChanged: lambda: EmailChanged(email=f"{name}@example.com"),
        RolesAssigned: lambda: RolesAssigned(role_ids=role_ids, assigned_by="root"),
        AccountLocked: lambda: AccountLocked(login_attempts=3, reason="why not"),
        AccountUnlocked: lambda: AccountUnlocked(unlocked_by="root"),
        UserDeleted: lambda: UserDeleted(deleted_by="root"),
        UserRestored: lambda: UserRestored(restored_by="root"),
        RoleDefined: lambda: RoleDefined(name=name, permissions=tuple(random.sample(["read", "write", 'a"b'], 2))),
        RoleRetired: lambda: RoleRetired(name=name),
        TenantCreated: lambda: TenantCreated(name=name),
        TenantRenamed: lambda: TenantRenamed(name=name),
        TenantSuspended: lambda: TenantSuspended(reason=name),
    }
    return made[kind]()


CHANGES: dict[str, tuple[type[Event], ...]] = {
    "User": (UserUpdated, EmailChanged, RolesAssigned, RolesAssigned, AccountLocked, AccountUnlocked, UserDeleted, UserRestored),
    "Role": (RoleDefined, RoleDefined, RoleRetired),
    "Tenant": (TenantRenamed, TenantSuspended),
}


@pytest.fixture
async def events(store: EventStore, batcher: Batcher, engine: ProjectionEngine) -> list[RecordedEvent]:
    """A log of three tenants, their roles and their users, all in the read tables.

    Some things occur at the same moment, and some are told of late or early: the log is not in the order of time.
    """
    await store.database.pool.execute(WATERMARKS_ARE_NEAR)
    random, history = Random(42), History(batcher)
    cast: list[tuple[Aggregate[Any, Any, Any], UUID, UUID]] = [
        *((TENANT, id, id) for id in TENANT_IDS),
        *((ROLE, id, TENANT_IDS[n % 3]) for n, id in enumerate(ROLE_IDS)),
        *((USER, id, TENANT_IDS[n % 3]) for n, id in enumerate(USER_IDS)),
    ]
    random.shuffle(cast)
    for number in range(LENGTH):
        aggregate, id, tenant_id = cast[number] if number < len(cast) else random.choice(cast)
        kinds = CHANGES[aggregate.stream_type] if history.begun(id) else aggregate.events[:1]
        at = NOON + timedelta(hours=max(0, number // 3 + random.choice((0, 0, 0, 9, -30))))
        await history.add(aggregate, id, any_event(random.choice(kinds), random), tenant_id=tenant_id, at=at)
    await engine.catch_up()
    return await store.read(0, LENGTH)


# What a plain search finds


def streams_at(events: Sequence[RecordedEvent], state: type[S], as_of: Moment | None) -> list[Stream[S]]:
    def counts(recorded: RecordedEvent) -> bool:
        if as_of is None:
            return True
        if as_of.position is not None:
            return recorded.position <= as_of.position
        assert as_of.timestamp is not None
        return recorded.occurred_at <= as_of.timestamp

    return [stream for stream in folded(events, counts).values() if isinstance(stream.state, state)]


def user_matches(filter: UserFilter, user: Stream[User], all_roles: Sequence[Stream[Role]]) -> bool:
    state = user.state
    named = {role.id for role in all_roles if role.state.name_key == normalise(filter.role_name or "")}
    part = normalise(filter.search or "")
    return (
        (filter.ids is None or user.id in filter.ids)
        and filter.tenant_id in (None, user.tenant_id)
        and (filter.username is None or normalise(filter.username) == state.username_key)
        and (filter.username_prefix is None or state.username_key.startswith(normalise(filter.username_prefix)))
        and (filter.email is None or normalise(filter.email) == state.email_key)
        and filter.status in (None, state.status)
        and (filter.role_id is None or filter.role_id in state.role_ids)
        and (filter.role_name is None or bool(named.intersection(state.role_ids)))
        and (filter.created_after is None or state.created_at >= filter.created_after)
        and (filter.created_before is None or state.created_at < filter.created_before)
        and any(part in text for text in (state.username_key, state.email_key, normalise(state.full_name or "")))
        and all(user_matches(each, user, all_roles) for each in filter.and_)
        and (not filter.or_ or any(user_matches(each, user, all_roles) for each in filter.or_))
        and not (filter.not_ is not None and user_matches(filter.not_, user, all_roles))
    )


def asks_for_deleted(filter: UserFilter) -> bool:
    within = [*filter.and_, *filter.or_, *([filter.not_] if filter.not_ else [])]
    return filter.include_deleted or filter.status is not None or any(map(asks_for_deleted, within))


def in_order(found: list[Stream[S]], orders: Sequence[Any]) -> list[UUID]:
    """Sorted by the last key first: Python's sort keeps what is equal as it is."""
    found = sorted(found, key=attrgetter("id"), reverse=orders[-1].descending)
    for order in reversed(orders):
        found.sort(key=attrgetter(f"state.{order.field.value}"), reverse=order.descending)
    return [stream.id for stream in found]


# What paging gives


async def all_pages(page: Callable[[PageRequest], Awaitable[Page[Stream[S]]]], size: int, *, backwards: bool) -> list[UUID]:
    ids: list[UUID] = []
    cursor: str | None = None
    while True:
        request = PageRequest(last=size, before=cursor) if backwards else PageRequest(first=size, after=cursor)
        got = await page(request)
        here = [stream.id for stream in got.items]
        ids = here + ids if backwards else ids + here
        more, less = (got.has_previous, got.has_next) if backwards else (got.has_next, got.has_previous)
        assert less == (cursor is not None)
        if not more:
            return ids
        assert len(here) == size, "a page before the last is full"
        cursor = got.cursors[0 if backwards else -1]


async def assert_paged(
    model: Any, store: EventStore, question: Any, wanted: list[Stream[Any]], size: int, *, backwards: bool
) -> None:
    """The read model's pages hold just these streams, in the order asked for, and its count is theirs."""
    filter, orders, as_of = question
    found = await all_pages(lambda page: model.page(store.database, filter, orders, as_of, page), size, backwards=backwards)
    assert found == in_order(wanted, orders)
    assert await model.count(store.database, filter, as_of) == len(wanted)


# The questions

moments = st.none() | st.builds(Moment, position=st.integers(0, LENGTH + 1)) | st.builds(Moment, timestamp=HOURS)
sizes = st.integers(1, 12)
texts = st.sampled_from([*NAMES, "A", "da", "%", "_", "\\", "z", "e@", "ADA", "lace"])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Few conditions at once, so that something is found."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: dict(list(given.items())[:2]))


conditions = optional(
    role_name=st.sampled_from(NAMES),
    ids=st.lists(st.sampled_from(USER_IDS), max_size=20).map(tuple),
    tenant_id=st.sampled_from(TENANT_IDS),
    username=st.sampled_from(NAMES),
    username_prefix=texts,
    email=st.sampled_from(NAMES).map(lambda name: f"{name.upper()}@example.org"),
    status=st.sampled_from(UserStatus),
    role_id=st.sampled_from(ROLE_IDS),
    created_after=HOURS,
    created_before=HOURS,
    search=texts,
    include_deleted=st.booleans(),
)
plain = conditions.map(lambda given: UserFilter(**given))
nested = st.builds(
    lambda given, more: UserFilter(**(given | more)), conditions, optional(and_=st.lists(plain, max_size=2).map(tuple))
)
user_filters = st.builds(
    lambda given, more: UserFilter(**(given | more)),
    conditions,
    optional(or_=st.lists(nested, max_size=2).map(tuple), not_=nested),
)


def orders(order: type[Any], fields: type[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.builds(order, st.sampled_from(fields), st.booleans()), min_size=1, max_size=3)


user_orders = orders(UserOrder, UserOrderField)
by_change = user_orders.map(lambda orders: [UserOrder(UserOrderField.UPDATED_AT, orders[0].descending), *orders])


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=user_filters, orders=user_orders | by_change, as_of=moments, size=sizes, backwards=st.booleans())
async def test_users(
    store: EventStore,
    events: list[RecordedEvent],
    filter: UserFilter,
    orders: list[UserOrder],
    as_of: Moment | None,
    size: int,
    backwards: bool,
) -> None:
    all_roles = streams_at(events, Role, as_of)
    wanted = [
        user
        for user in streams_at(events, User, as_of)
        if user_matches(filter, user, all_roles) and (asks_for_deleted(filter) or user.state.deleted_at is None)
    ]
    await assert_paged(users, store, (filter, orders, as_of), wanted, size, backwards=backwards)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given=optional(
        ids=st.lists(st.sampled_from(ROLE_IDS)).map(tuple),
        tenant_id=st.sampled_from(TENANT_IDS),
        name=st.sampled_from(NAMES),
        permission=st.sampled_from(["read", 'a"b']),
        include_retired=st.booleans(),
    ),
    orders=orders(RoleOrder, RoleOrderField),
    as_of=moments,
    size=sizes,
    backwards=st.booleans(),
)
async def test_roles(
    store: EventStore,
    events: list[RecordedEvent],
    given: dict[str, Any],
    orders: list[RoleOrder],
    as_of: Moment | None,
    size: int,
    backwards: bool,
) -> None:
    filter = RoleFilter(**given)
    wanted = [
        role
        for role in streams_at(events, Role, as_of)
        if (filter.ids is None or role.id in filter.ids)
        and filter.tenant_id in (None, role.tenant_id)
        and (filter.name is None or normalise(filter.name) == role.state.name_key)
        and (filter.permission is None or filter.permission in role.state.permissions)
        and (filter.include_retired or role.state.retired_at is None)
    ]
    await assert_paged(roles, store, (filter, orders, as_of), wanted, size, backwards=backwards)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given=optional(
        ids=st.lists(st.sampled_from(TENANT_IDS)).map(tuple),
        name=st.sampled_from(NAMES),
        status=st.sampled_from(TenantStatus),
        search=texts,
    ),
    descending=st.booleans(),
    as_of=moments,
    size=sizes,
    backwards=st.booleans(),
)
async def test_tenants(
    store: EventStore,
    events: list[RecordedEvent],
    given: dict[str, Any],
    descending: bool,
    as_of: Moment | None,
    size: int,
    backwards: bool,
) -> None:
    filter = TenantFilter(**given)
    wanted = [
        tenant
        for tenant in streams_at(events, Tenant, as_of)
        if (filter.ids is None or tenant.id in filter.ids)
        and (filter.name is None or normalise(filter.name) == normalise(tenant.state.name))
        and filter.status in (None, tenant.state.status)
        and normalise(filter.search or "") in normalise(tenant.state.name)
    ]
    orders = [TenantOrder(TenantOrderField.CREATED_AT, descending)]
    await assert_paged(tenants, store, (filter, orders, as_of), wanted, size, backwards=backwards)
    by_name = await tenants.page(store.database, filter, as_of=as_of)
    assert [tenant.id for tenant in by_name.items] == [
        tenant.id for tenant in sorted(wanted, key=lambda tenant: (normalise(tenant.state.name), tenant.id))
    ]


async def test_a_cursor_of_another_question_is_refused(store: EventStore, events: list[RecordedEvent]) -> None:
    filter, order, as_of = UserFilter(include_deleted=True), [UserOrder(UserOrderField.EMAIL)], Moment(position=100)
    cursor = (await users.page(store.database, filter, order, as_of, PageRequest(first=2))).cursors[0]
    request = PageRequest(after=cursor)
    assert (await users.page(store.database, filter, order, as_of, request)).has_previous
    others: list[tuple[UserFilter, list[UserOrder], Moment | None]] = [
        (UserFilter(), order, as_of),
        (filter, [UserOrder(UserOrderField.EMAIL, descending=True)], as_of),
        (filter, [UserOrder(UserOrderField.USERNAME)], as_of),
        (filter, order, Moment(position=101)),
        (filter, order, None),
    ]
    for other in others:
        with pytest.raises(BadInput, match="after: is a cursor of another filter or order"):
            await users.page(store.database, *other, request)
    with pytest.raises(BadInput, match="before: 'x' is not a cursor"):
        await roles.page(store.database, request=PageRequest(before="x"))


async def test_conditions_nest_three_deep_and_not_deeper(store: EventStore, engine: ProjectionEngine) -> None:
    three = UserFilter(and_=(UserFilter(or_=(UserFilter(not_=UserFilter(username="bob")),)),))
    assert await users.count(store.database, three) == 0
    with pytest.raises(BadInput, match="filter: nests and, or and not deeper than 3"):
        await users.count(store.database, UserFilter(not_=three))


async def test_a_moment_of_a_list_is_no_version(store: EventStore) -> None:
    with pytest.raises(BadInput, match="asOf: takes a position or a timestamp"):
        await users.page(store.database, as_of=Moment(version=3))


async def test_a_username_finds_its_user_now_and_then(store: EventStore, batcher: Batcher, engine: ProjectionEngine) -> None:
    history, acme, other = History(batcher), uuid4(), uuid4()
    ada, later_ada, other_ada = uuid4(), uuid4(), uuid4()

    async def name(id: UUID, tenant_id: UUID, at: datetime) -> None:
        await history.add(USER, id, UserCreated(username="Ada", email="a@example.org"), tenant_id=tenant_id, at=at)

    await name(ada, acme, NOON)
    await history.add(USER, ada, UserDeleted(deleted_by="root"), tenant_id=acme, at=NOON + timedelta(hours=1))
    await name(later_ada, acme, NOON + timedelta(hours=2))
    await engine.catch_up()

    async def found(tenant_id: UUID | None = None, as_of: Moment | None = None) -> UUID | None:
        user = await users.by_username(store.database, "ADA", tenant_id, as_of)
        return user.id if user else None

    assert [await found(as_of=Moment(position=position)) for position in range(4)] == [None, ada, None, later_ada]
    assert [await found(as_of=Moment(timestamp=NOON + timedelta(hours=hours))) for hours in (0, 1, 2)] == [ada, None, later_ada]
    await name(other_ada, other, NOON)
    await engine.catch_up()
    assert [await found(acme), await found(other)] == [later_ada, other_ada]
    with pytest.raises(BadInput, match="tenantId: is needed: several tenants have a user 'ADA'"):
        await found()
