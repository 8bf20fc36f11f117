"""Who has a role is, at every moment, whoever the plain fold of their events gives it to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event, Stream
from app.domain.user import USER, User
from app.domain.user_events import RolesAssigned, UserCreated, UserDeleted, UserEvent, UserRestored, UserUpdated
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.database import Database
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import members
from projections.engine import ProjectionEngine
from projections.role_members import NO_ROLE
from tests.projections.histories import NOON, History, folded

pytestmark = pytest.mark.anyio

ACME = uuid4()
CREATED = UserCreated(username="ann", email="ann@example.org")


class Had(NamedTuple):
    """A user had a role."""

    user_id: UUID
    role_id: UUID
    from_position: int
    to_position: int | None
    since: datetime
    until: datetime | None


def assigned(*role_ids: UUID) -> RolesAssigned:
    return RolesAssigned(role_ids=role_ids, assigned_by="root")


# What a plain search finds


def by_role(streams: Iterable[Stream[User]]) -> dict[UUID, dict[UUID, Stream[User]]]:
    """By role, the users who have it and are not deleted."""
    found: dict[UUID, dict[UUID, Stream[User]]] = defaultdict(dict)
    for user in streams:
        for role_id in user.state.role_ids if user.state.deleted_at is None else ():
            found[role_id][user.id] = user
    return found


def memberships(events: Sequence[RecordedEvent]) -> set[Had]:
    """Each time that somebody had a role, from the states before and after each event."""
    had: set[Had] = set()
    current: dict[tuple[UUID, UUID], RecordedEvent] = {}
    for count, event in enumerate(events, start=1):
        now = {(user, role) for role, users in by_role(folded(events[:count]).values()).items() for user in users}
        for key in current.keys() - now:
            had.add(span(key, current.pop(key), event))
        current |= dict.fromkeys(now - current.keys(), event)
    return had | {span(key, begin, None) for key, begin in current.items()}


def span(key: tuple[UUID, UUID], begin: RecordedEvent, end: RecordedEvent | None) -> Had:
    ended = (end.position, end.occurred_at) if end is not None else (None, None)
    return Had(*key, begin.position, ended[0], begin.occurred_at, ended[1])


# What the read model says


async def seen(database: Database, role_ids: Sequence[UUID], as_of: Moment | None) -> dict[UUID, dict[UUID, Stream[User]]]:
    found: dict[UUID, dict[UUID, Stream[User]]] = {}
    pages = await members.first_pages(database, role_ids, as_of, PageRequest(first=100))
    counts = await members.counts(database, role_ids, as_of)
    for role_id in role_ids:
        assert pages[role_id] == await members.page(database, role_id, as_of, PageRequest(first=100))
        found[role_id] = {member.user.id: member.user for member in pages[role_id].items}
        assert len(found[role_id]) == len(pages[role_id].items) == counts[role_id]
    return {role_id: users for role_id, users in found.items() if users}


places = st.integers(0, 2)
changes = st.one_of(
    st.sets(places).map(lambda roles: (RolesAssigned, tuple(sorted(roles)))),
    st.sampled_from([(UserDeleted, ()), (UserRestored, ()), (UserUpdated, ())]),
)
steps = st.lists(st.tuples(places, changes, st.integers(0, 2)), min_size=1, max_size=14)
Step = tuple[int, tuple[type[UserEvent], tuple[int, ...]], int]


def event(kind: type[UserEvent], role_ids: Iterable[UUID]) -> Event:
    made: dict[type[UserEvent], Event] = {
        RolesAssigned: assigned(*role_ids),
        UserDeleted: UserDeleted(deleted_by="root"),
        UserRestored: UserRestored(restored_by="root"),
        UserUpdated: UserUpdated(full_name="Ann"),
    }
    return made[kind]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, engine=places)
async def test_members_are_the_fold_at_every_position_and_time(
    store: EventStore, batcher: Batcher, engines: list[ProjectionEngine], steps: list[Step], engine: int
) -> None:
    """Even of histories that break a rule, such as roles for a deleted user."""
    database, before, history, at = store.database, await store.head(), History(batcher), NOON
    user_ids, role_ids = [uuid4() for _ in range(3)], [uuid4() for _ in range(3)]
    for user_id in user_ids:
        await history.add(USER, user_id, CREATED, tenant_id=ACME)
    for place, (kind, roles), hours in steps:
        at += timedelta(hours=hours)
        await history.add(USER, user_ids[place], event(kind, [role_ids[role] for role in roles]), tenant_id=ACME, at=at)
    await engines[engine].catch_up()

    events = await store.read(before, 1000)
    assert await seen(database, role_ids, None) == by_role(folded(events).values())
    for position in range(before, history.position + 1):
        then = folded(events, lambda e: e.position <= position)  # noqa: B023
        assert await seen(database, role_ids, Moment(position=position)) == by_role(then.values())
    for time in {each.occurred_at for each in events}:
        then = folded(events, lambda e: e.occurred_at <= time)  # noqa: B023
        assert await seen(database, role_ids, Moment(timestamp=time)) == by_role(then.values())

    rows = await database.fetch(
        "SELECT user_id, role_id, from_position, to_position, since, until FROM read.role_members"
        " WHERE user_id = ANY ($1) AND role_id <> $2 AND NOT user_deleted",
        user_ids,
        NO_ROLE,
    )
    assert {Had(*row) for row in rows} == memberships(events)
    assert len(rows) == len(memberships(events))


async def test_a_list_of_members_is_read_either_way(store: EventStore, batcher: Batcher, engine: ProjectionEngine) -> None:
    history, role_id, user_ids = History(batcher), uuid4(), [uuid4() for _ in range(7)]
    for number, user_id in enumerate(user_ids):
        at = NOON + timedelta(hours=number // 2)
        await history.add(USER, user_id, CREATED, assigned(role_id), tenant_id=ACME, at=at)
    await engine.catch_up()
    wanted = [*sorted(user_ids[:2]), *sorted(user_ids[2:4]), *sorted(user_ids[4:6]), user_ids[6]]

    forwards: list[UUID] = []
    page = await members.page(store.database, role_id, request=PageRequest(first=3))
    while page.items:
        forwards += [member.user.id for member in page.items]
        page = await members.page(store.database, role_id, request=PageRequest(first=3, after=page.cursors[-1]))
    assert forwards == wanted
    last = await members.page(store.database, role_id, request=PageRequest(last=3))
    assert [member.user.id for member in last.items] == wanted[-3:]
    with_others = [uuid4(), role_id, uuid4()]
    found = await members.first_pages(store.database, with_others, request=PageRequest(last=3))
    assert (found[role_id], [len(found[id].items) for id in with_others]) == (last, [0, 3, 0])
    with pytest.raises(BadInput, match="after: is a cursor of another filter or order"):
        await members.page(store.database, uuid4(), request=PageRequest(after=last.cursors[0]))
    with pytest.raises(BadInput, match="asOf: takes a position or a timestamp"):
        await members.page(store.database, role_id, Moment(version=1))


async def test_a_membership_that_goes_on_keeps_its_beginning(
    store: EventStore, batcher: Batcher, engine: ProjectionEngine
) -> None:
    history, user_id, reader, writer = History(batcher), uuid4(), uuid4(), uuid4()
    hours = [NOON + timedelta(hours=hour) for hour in range(6)]
    deleted, restored = UserDeleted(deleted_by="root"), UserRestored(restored_by="root")
    for at, each in zip(hours, (CREATED, assigned(reader), assigned(reader, writer), deleted, restored), strict=False):
        await history.add(USER, user_id, each, tenant_id=ACME, at=at)
        await engine.catch_up()

    async def since_and_until(role_id: UUID, as_of: Moment | None = None) -> list[tuple[datetime, datetime | None]]:
        page = await members.page(store.database, role_id, as_of)
        return [(member.since, member.until) for member in page.items]

    before_the_deletion = Moment(position=3)
    assert await since_and_until(reader, before_the_deletion) == [(hours[1], hours[3])]
    assert await since_and_until(writer, before_the_deletion) == [(hours[2], hours[3])]
    assert await since_and_until(reader, Moment(position=4)) == []
    assert await since_and_until(reader) == await since_and_until(writer) == [(hours[4], None)]
