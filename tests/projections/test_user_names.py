"""What a user is called is, at every moment, what the plain fold of their events says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event
from app.domain.names import normalise
from app.domain.user import USER, User
from app.domain.user_events import EmailChanged, PhoneChanged, UserCreated, UserDeleted, UserRestored, UserUpdated
from app.eventstore.batcher import Batcher
from app.eventstore.database import Database
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import users
from projections.engine import ProjectionEngine
from projections.users import UserFilter
from tests.projections.histories import NOON, History, folded

pytestmark = pytest.mark.anyio

ACME = uuid4()
NAMES = ["ann", "Ann", "bob", "Zoë", "zoe\u0308", "a\nb", ""]
"""Some of which are the same name, and some no names by the rules."""


class Called(NamedTuple):
    """A user had these names."""

    user_id: UUID
    from_position: int
    to_position: int | None
    since: datetime
    until: datetime | None
    keys: tuple[str, str, str]
    """Of the username, the e-mail address and the full name."""


def keys_of(user: User) -> tuple[str, str, str]:
    return user.username_key, user.email_key, normalise(user.full_name or "")


def spans(events: Sequence[RecordedEvent]) -> set[Called]:
    """Each time that somebody came to be called so, from the states after each event."""
    begun: dict[UUID, Called] = {}
    ended: set[Called] = set()
    for count, event in enumerate(events, start=1):
        id, now = event.stream_id, keys_of(folded(events[:count])[event.stream_id].state)
        last = begun.get(id)
        if last is not None and last.keys == now:
            continue
        if last is not None:
            ended.add(last._replace(to_position=event.position, until=event.occurred_at))
        begun[id] = Called(id, event.position, None, event.occurred_at, None, now)
    return ended | set(begun.values())


async def rows(database: Database, user_ids: Sequence[UUID]) -> list[Called]:
    """What the table holds of these users."""
    found = await database.fetch("SELECT * FROM read.user_names WHERE user_id = ANY ($1)", user_ids)
    return [
        Called(
            *(row["user_id"], row["from_position"], row["to_position"], row["since"], row["until"]),
            (row["username_key"], row["email_key"], row["search_text"][len(row["username_key"] + row["email_key"]) + 2 :]),
        )
        for row in found
    ]


places, names = st.integers(0, 2), st.sampled_from(NAMES)
changes: st.SearchStrategy[Event] = st.one_of(
    st.builds(UserUpdated, full_name=names),
    st.builds(EmailChanged, email=names),
    st.builds(UserCreated, username=names, email=names, full_name=st.none() | names),
    st.sampled_from([UserDeleted(deleted_by="root"), UserRestored(restored_by="root"), PhoneChanged()]),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(places, changes, st.integers(0, 2)), min_size=1, max_size=14), engine=places)
async def test_names_are_the_fold_at_every_position_and_time(
    store: EventStore, batcher: Batcher, engines: list[ProjectionEngine], steps: list[tuple[int, Event, int]], engine: int
) -> None:
    """Even of histories that break a rule, such as a user who is created twice."""
    before, history, at, user_ids = await store.head(), History(batcher), NOON, [uuid4() for _ in range(3)]
    for user_id in user_ids:
        await history.add(USER, user_id, UserCreated(username="ann", email="ann@example.org"), tenant_id=ACME)
    for place, event, hours in steps:
        at += timedelta(hours=hours)
        await history.add(USER, user_ids[place], event, tenant_id=ACME, at=at)
    await engines[engine].catch_up()

    events = await store.read(before, 1000)
    found = await rows(store.database, user_ids)
    assert set(found) == spans(events)
    assert len(found) == len(set(found))
    for position in range(before, history.position + 1):
        then = {each.user_id: each.keys for each in found if each.from_position <= position < (each.to_position or 1 << 62)}
        streams = folded(events, lambda e: e.position <= position)  # noqa: B023
        assert then == {id: keys_of(stream.state) for id, stream in streams.items()}
    for time in {each.occurred_at for each in events}:
        then = {each.user_id: each.keys for each in found if each.since <= time and (each.until is None or each.until > time)}
        streams = folded(events, lambda e: e.occurred_at <= time)  # noqa: B023
        assert then == {id: keys_of(stream.state) for id, stream in streams.items()}


async def test_a_user_is_found_by_what_they_were_called_then(
    store: EventStore, batcher: Batcher, engine: ProjectionEngine
) -> None:
    history, user_id = History(batcher), uuid4()
    created = UserCreated(username="ann", email="ann@example.org", full_name="Ann Ash")
    await history.add(USER, user_id, created, UserUpdated(full_name="Ann Beech"), tenant_id=ACME)
    await history.add(USER, user_id, EmailChanged(email="Beech@example.org"), UserDeleted(deleted_by="root"), tenant_id=ACME)
    await engine.catch_up()

    async def found(as_of: int, **given: str) -> int:
        return await users.count(store.database, UserFilter(**given), Moment(position=as_of))  # type: ignore[arg-type]

    assert [await found(position, search="ASH") for position in range(5)] == [0, 1, 0, 0, 0]
    assert [await found(position, search="beech") for position in range(5)] == [0, 0, 1, 1, 0]
    assert [await found(position, email="ann@example.org") for position in range(5)] == [0, 1, 1, 0, 0]
    assert [await found(position, email="BEECH@example.org") for position in range(5)] == [0, 0, 0, 1, 0]
    without = UserFilter(not_=UserFilter(search="ash"), include_deleted=True)
    counts = [await users.count(store.database, without, Moment(position=position)) for position in range(5)]
    assert counts == [0, 0, 1, 1, 1]
