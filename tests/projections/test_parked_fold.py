"""Whatever events are poison and whenever they are mended: after the last retry every row is the plain fold of the log."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import users
from projections.engine import ProjectionEngine
from tests.projections.brittle import BrittleUsers
from tests.projections.histories import folded, played, steps
from tests.projections.test_fold import OPEN, OVERLAPS

pytestmark = pytest.mark.anyio

BRITTLE = BrittleUsers()

POISON = st.sets(st.integers(1, 16))


@pytest.fixture
async def engines(store: EventStore) -> list[ProjectionEngine]:
    """Several on one database, each of which ends its pages elsewhere."""
    engines = [ProjectionEngine(store, (BRITTLE,), batch_size=size) for size in (1, 3, 1000)]
    for engine in engines:
        await engine.prepare()
    return engines


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps(), turns=st.lists(st.tuples(st.integers(0, 2), POISON), min_size=1, max_size=6))
async def test_rows_are_the_fold_up_to_what_waits_and_in_the_end_of_all(
    store: EventStore,
    batcher: Batcher,
    engines: list[ProjectionEngine],
    steps: list[tuple[int, Event, Event, int]],
    turns: list[tuple[int, set[int]]],
) -> None:
    start = await store.head()
    ids, head = await played(batcher, steps)
    events = [recorded for recorded in await store.read(start, 1000) if recorded.stream_type == "User"]
    for engine, poison in [*turns, (2, set[int]())]:
        BRITTLE.poison = {start + position for position in poison}
        await engines[engine].advance("users")
        await engines[engine].retrying.retry("users")
        (status,) = await engines[engine].status()
        seen = [recorded for recorded in events if recorded.position <= status.checkpoint]
        waiting = await check_what_waits(store, seen, status.parked)
        assert await users.by_ids(store.database, ids) == folded(seen, lambda e: e.position not in waiting)  # noqa: B023

    BRITTLE.poison = ()
    await engines[2].catch_up()
    await engines[2].retrying.retry("users")
    assert await check_what_waits(store, events, 0) == set()
    await check_every_moment(store, ids, events, range(start, head + 1))


async def check_what_waits(store: EventStore, seen: list[RecordedEvent], parked: int) -> set[int]:
    """With each event that waits all later ones of its stream do; returns their positions."""
    rows = await store.database.fetch("SELECT key, position, error FROM es.dead_letters ORDER BY position")
    first = {row["key"]: row["position"] for row in reversed(rows)}
    assert len(first) == parked
    assert {row["position"] for row in rows if row["error"]} == set(first.values())
    waiting = {row["position"] for row in rows}
    assert waiting == {e.position for e in seen if e.position >= first.get(str(e.stream_id), e.position + 1)}
    return waiting


async def check_every_moment(store: EventStore, ids: list[UUID], events: list[RecordedEvent], positions: range) -> None:
    """The twin is the fold of the log too."""
    database = store.database
    for position in positions:
        then = await users.by_ids(database, ids, Moment(position=position))
        assert then == folded(events, lambda e: e.position <= position)  # noqa: B023
    for time in {recorded.occurred_at for recorded in events}:
        then = await users.by_ids(database, ids, Moment(timestamp=time))
        assert then == folded(events, lambda e: e.occurred_at <= time)  # noqa: B023
    assert await database.fetchval(OVERLAPS.format(twin="users_history")) == 0
    rows = await database.fetchval("SELECT count(*) FROM read.users")
    assert await database.fetchval(OPEN.format(twin="users_history")) == rows
