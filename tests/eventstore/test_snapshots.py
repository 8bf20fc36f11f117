"""Snapshots: made when due, kept as the policy says, and never used by mistake."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Stream
from app.errors import BadInput, NotFound
from app.eventstore.batcher import Batcher
from app.eventstore.cache import StateCache
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment
from app.eventstore.snapshots import Snapshots
from app.eventstore.states import States
from app.eventstore.store import EventStore
from tests.eventstore.job import JOB, NOON, TENANT, Job, JobCreated, JobStarted, evolve, job_append

pytestmark = pytest.mark.anyio

EVERY, KEPT = 10, 3


@pytest.fixture
def folds(codec: Codec) -> Folds:
    return Folds(codec)


@pytest.fixture
def snapshots(database: Database, folds: Folds) -> Snapshots:
    return Snapshots(database, folds, every=EVERY, kept=KEPT)


@pytest.fixture
def states(folds: Folds, snapshots: Snapshots) -> States:
    return States(folds, snapshots, StateCache(3))  # so few that some are always dropped


@pytest.fixture
def store(database: Database, codec: Codec, states: States) -> EventStore:
    return EventStore(database, codec, states)


async def grow(batcher: Batcher, id: UUID, events: int, after: int = 0) -> None:
    """Append so many events, each a minute after the one before it, by appends of one event."""
    for version in range(after, after + events):
        event = JobStarted(worker_name=f"worker {version + 1}", attempt=version + 1) if version else JobCreated(name=str(id))
        await batcher.append(job_append(event, stream_id=id, after=version))


def fold(id: UUID, version: int, first_position: int = 1) -> Stream[Job] | None:
    """What the events of `grow` make, by hand."""
    if version == 0:
        return None
    job = evolve(None, JobCreated(name=str(id)), NOON)
    for number in range(2, version + 1):
        job = evolve(job, JobStarted(worker_name=f"worker {number}", attempt=number), NOON)
    return Stream(id=id, type="Job", tenant_id=TENANT, version=version, position=first_position + version - 1, state=job)


async def kept(store: EventStore, id: UUID) -> list[int]:
    return [each.version for each in await store.states.snapshots.of_stream(id, store.database)]


async def events_read(store: EventStore, id: UUID, moment: Moment | None = None, **how: Any) -> tuple[int, Stream[Any] | None]:
    folded = await store.states.replay(id, moment, store.database, **how)
    assert folded is not None
    return folded.events, folded.stream


async def test_a_stream_is_read_from_its_newest_snapshot(batcher: Batcher, store: EventStore) -> None:
    id = uuid4()
    await grow(batcher, id, 12)
    assert await events_read(store, id) == (12, fold(id, 12))
    made = await store.states.take_snapshot(id, " to be tried ", store.database)
    assert (made.version, made.position, made.reason, made.usable) == (12, 12, "to be tried", True)
    assert made.occurred_at == NOON + timedelta(minutes=11)
    await grow(batcher, id, 3, after=12)
    assert await events_read(store, id) == (3, fold(id, 15))
    assert await events_read(store, id, use_snapshot=False) == (15, fold(id, 15))
    assert await store.load(id) == fold(id, 15)


async def test_a_moment_is_read_from_the_nearest_snapshot_before_it(batcher: Batcher, store: EventStore) -> None:
    id = uuid4()
    for number in range(2):
        await grow(batcher, id, 50, after=50 * number)
        await store.states.take_snapshot(id, "half", store.database)
    at = timedelta(minutes=1)
    for version in (1, 49, 50, 51, 99, 100):
        for moment in (Moment(version=version), Moment(position=version), Moment(timestamp=NOON + (version - 1) * at)):
            assert await events_read(store, id, moment) == (version % 50, fold(id, version)), moment
    assert await events_read(store, id, Moment(timestamp=NOON + 77.5 * at)) == (28, fold(id, 78))
    assert await events_read(store, id, Moment(timestamp=NOON - at)) == (0, None)


async def test_one_is_due_after_so_many_events_and_the_newest_are_kept(batcher: Batcher, store: EventStore) -> None:
    id, head = uuid4(), 0
    for upto in (9, 10, 19, 25, 31, 47):
        async with store.states.snapshots:  # what is due is made by the time that this is left
            await grow(batcher, id, upto - head, after=head)
            head = upto
            assert await store.load(id) == fold(id, upto)
    assert await kept(store, id) == [47, 31, 25]
    assert [each.reason for each in await store.states.snapshots.of_stream(id, store.database)] == [None] * KEPT


async def test_a_command_makes_one_due_without_reading(store: EventStore, batcher: Batcher) -> None:
    id = uuid4()
    await grow(batcher, id, 20)
    stream = fold(id, 20)
    assert stream is not None
    async with store.states.snapshots as making:
        store.states.remember(stream, 19)
        store.states.remember(Stream(id=uuid4(), type="Job", tenant_id=TENANT, version=9, position=1, state=stream.state), 8)
    assert (await making.stats(store.database)).snapshots == 1
    assert await kept(store, id) == [20]


async def test_old_ones_are_dropped_but_never_the_newest(batcher: Batcher, store: EventStore, database: Database) -> None:
    old, newer = uuid4(), uuid4()
    for id in (old, newer):
        await grow(batcher, id, 1)
        await store.states.take_snapshot(id, "first", database)
        await grow(batcher, id, 1, after=1)
        await store.states.take_snapshot(id, "second", database)
    await database.fetch("UPDATE es.snapshots SET made_at = now() - interval '91 days' WHERE stream_id = $1", old)
    await database.fetch("UPDATE es.snapshots SET made_at = now() - interval '89 days' WHERE stream_id = $1", newer)
    assert await store.states.snapshots.prune() == 1
    assert await kept(store, old) == [2]
    assert await kept(store, newer) == [2, 1]


async def test_what_other_code_folded_is_ignored_counted_and_pruned(
    batcher: Batcher, store: EventStore, database: Database
) -> None:
    id = uuid4()
    await grow(batcher, id, 5)
    await store.states.take_snapshot(id, "by hand", database)
    await database.fetch("UPDATE es.snapshots SET fingerprint = 'of other code'")
    assert await events_read(store, id) == (5, fold(id, 5))
    (foreign,) = await store.states.snapshots.of_stream(id, database)
    assert not foreign.usable
    stats = await store.states.snapshots.stats(database)
    assert (stats.snapshots, stats.streams, stats.of_other_code, stats.by_hand) == (1, 1, 1, 1)
    await store.states.take_snapshot(id, "again", database)
    assert await events_read(store, id) == (0, fold(id, 5))
    assert await store.states.snapshots.prune() == 1
    assert [each.reason for each in await store.states.snapshots.of_stream(id, database)] == ["again"]


@pytest.mark.parametrize("damage", ["state = 'junk'::bytea", "state = set_byte(state, 30, get_byte(state, 30) # 1)"])
async def test_a_damaged_one_is_told_and_not_used(
    batcher: Batcher, store: EventStore, database: Database, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    id = uuid4()
    await grow(batcher, id, 5)
    await store.states.take_snapshot(id, "by hand", database)
    await database.fetch(f"UPDATE es.snapshots SET {damage}")
    with caplog.at_level(logging.WARNING):
        assert await events_read(store, id) == (5, fold(id, 5))
    assert f"a kept state of stream {id} cannot be used" in caplog.text
    await store.states.take_snapshot(id, "mended", database)
    assert await events_read(store, id) == (0, fold(id, 5))


async def test_one_of_another_stream_or_version_is_not_used(batcher: Batcher, store: EventStore, database: Database) -> None:
    ids = sorted((uuid4(), uuid4()))
    for id in ids:
        await grow(batcher, id, 5)
        await store.states.take_snapshot(id, "by hand", database)
    await database.fetch("UPDATE es.snapshots SET state = (SELECT state FROM es.snapshots WHERE stream_id = $1)", ids[0])
    assert await events_read(store, ids[1]) == (5, fold(ids[1], 5, 6))
    await database.fetch("UPDATE es.snapshots SET version = 4")
    assert await events_read(store, ids[0]) == (5, fold(ids[0], 5))


async def test_one_by_hand_needs_a_reason_and_a_stream(store: EventStore) -> None:
    with pytest.raises(BadInput, match="reason: says in 1 to 1,000 characters why"):
        await store.states.take_snapshot(uuid4(), "  ", store.database)
    with pytest.raises(NotFound, match="there is no stream"):
        await store.states.take_snapshot(uuid4(), "why not", store.database)


def test_the_fingerprint_is_that_of_the_fold_the_state_and_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.eventstore import job

    before = Folds(Codec([JOB])).fingerprints["Job"]
    assert Folds(Codec([JOB])).fingerprints["Job"] == before
    monkeypatch.setitem(job.UPCASTERS, "JobStarted", [*job.UPCASTERS["JobStarted"], lambda data: data])
    assert Folds(Codec([JOB])).fingerprints["Job"] != before


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["load", "snapshot", "prune", "delete", "foreign"]), st.integers(0, 40)),
        st.tuples(st.sampled_from(["version", "position", "time"]), st.integers(0, 40)),
    ),
    max_size=14,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_is_kept_a_state_is_the_fold_of_its_events(
    batcher: Batcher, store: EventStore, database: Database, steps: list[tuple[str, int]]
) -> None:
    id, head, first = uuid4(), 1, await store.head() + 1
    await grow(batcher, id, 1)
    for step, number in steps:
        version = min(number, head)
        match step:
            case "append":
                await grow(batcher, id, number, after=head)
                head += number
            case "load":
                async with store.states.snapshots:
                    assert await store.load(id) == fold(id, head, first)
            case "snapshot":
                await store.states.take_snapshot(id, "a step", database)
            case "prune":
                await store.states.snapshots.prune()
            case "delete":
                await database.fetch("DELETE FROM es.snapshots WHERE version % 2 = $1", number % 2)
            case "foreign":
                await database.fetch("UPDATE es.snapshots SET fingerprint = 'other ' || random() WHERE version >= $1", number)
            case _:
                assert await store.state_at(id, moment(step, version, first)) == fold(id, version, first)
    assert await store.load(id) == fold(id, head, first)


def moment(kind: str, version: int, first: int) -> Moment:
    """Right after a version of a stream whose first event has that position."""
    at: datetime = NOON + timedelta(minutes=version - 1)
    return {
        "version": Moment(version=version),
        "position": Moment(position=first + version - 1),
        "time": Moment(timestamp=at),
    }[kind]
