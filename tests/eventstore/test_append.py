"""One append: what it writes, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import uuid4

import asyncpg
import pytest

from app.domain.aggregate import Claim
from app.errors import AlreadyTaken, BadInput, IdempotencyMismatch, VersionConflict
from app.eventstore.batcher import Batcher
from app.eventstore.call import SQL
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from tests.eventstore.job import NOON, TENANT, JobCompleted, JobCreated, JobStarted, job_append

pytestmark = pytest.mark.anyio

CREATED = JobCreated(name="sweep")
STARTED = JobStarted(worker_name="ann", attempt=1)
SWEEP = frozenset({Claim("jobName", "sweep")})


async def test_events_get_the_next_versions_and_positions(batcher: Batcher, store: EventStore) -> None:
    first = job_append(CREATED, STARTED, metadata={"actor": "ann", "correlationId": "c1"})
    appended = await batcher.append(first)
    assert (appended.version, appended.position, appended.events, appended.replayed) == (2, 2, 2, False)

    appended = await batcher.append(job_append(JobCompleted(result="clean"), stream_id=first.stream_id, after=2))
    assert (appended.version, appended.position) == (3, 3)

    events = await store.read(0, 10)
    assert [event.event for event in events] == [CREATED, STARTED, JobCompleted(result="clean")]
    assert [(event.position, event.version, event.event_id) for event in events[:2]] == [
        (1, 1, first.event_ids[0]),
        (2, 2, first.event_ids[1]),
    ]
    assert events[0].metadata == {"actor": "ann", "correlationId": "c1"}
    assert {(event.stream_id, event.stream_type, event.tenant_id) for event in events} == {(first.stream_id, "Job", TENANT)}


@pytest.mark.parametrize("expected", [0, 1, 3, 7])
async def test_a_version_other_than_the_streams_is_a_conflict_that_names_both(
    batcher: Batcher, store: EventStore, expected: int
) -> None:
    stream_id = (await batcher.append(job_append(CREATED, STARTED))).stream_id
    with pytest.raises(VersionConflict) as conflict:
        await batcher.append(job_append(JobCompleted(), stream_id=stream_id, after=expected))
    assert (conflict.value.stream_id, conflict.value.expected, conflict.value.actual) == (stream_id, expected, 2)
    assert await store.head() == 2


async def test_a_stream_that_does_not_exist_is_at_version_0(batcher: Batcher) -> None:
    with pytest.raises(VersionConflict, match="is at version 0, not at the expected version 4"):
        await batcher.append(job_append(STARTED, after=4))


async def test_a_stream_keeps_its_type_and_tenant(batcher: Batcher, store: EventStore) -> None:
    stream_id = (await batcher.append(job_append(CREATED))).stream_id
    with pytest.raises(BadInput, match="is no Job of tenant"):
        await batcher.append(job_append(STARTED, stream_id=stream_id, after=1, tenant_id=uuid4()))
    with pytest.raises(BadInput, match="is no Task of tenant"):
        await batcher.append(job_append(STARTED, stream_id=stream_id, after=1, stream_type="Task"))
    assert await store.head() == 1


async def test_a_claim_belongs_to_one_stream_until_it_is_released(batcher: Batcher) -> None:
    holder = (await batcher.append(job_append(CREATED, takes=SWEEP))).stream_id
    with pytest.raises(AlreadyTaken) as taken:
        await batcher.append(job_append(CREATED, takes=SWEEP | {Claim("jobName", "free")}))
    assert (taken.value.kind, taken.value.value, taken.value.holder) == ("jobName", "sweep", holder)

    await batcher.append(job_append(CREATED, takes=SWEEP, tenant_id=uuid4()))
    await batcher.append(job_append(JobCompleted(), stream_id=holder, after=1, releases=SWEEP))
    await batcher.append(job_append(CREATED, takes=SWEEP))


async def test_a_stream_cannot_release_what_another_holds(batcher: Batcher) -> None:
    await batcher.append(job_append(CREATED, takes=SWEEP))
    await batcher.append(job_append(CREATED, releases=SWEEP))
    with pytest.raises(AlreadyTaken):
        await batcher.append(job_append(CREATED, takes=SWEEP))


async def test_a_stream_relied_on_must_not_have_moved(batcher: Batcher, store: EventStore) -> None:
    relied_on = (await batcher.append(job_append(CREATED))).stream_id
    absent = uuid4()
    await batcher.append(job_append(CREATED, relies_on={relied_on: 1, absent: 0}))

    await batcher.append(job_append(STARTED, stream_id=relied_on, after=1))
    with pytest.raises(VersionConflict) as conflict:
        await batcher.append(job_append(CREATED, relies_on={relied_on: 1, absent: 0}))
    assert (conflict.value.stream_id, conflict.value.expected, conflict.value.actual) == (relied_on, 1, 2)

    await batcher.append(job_append(CREATED, stream_id=absent))
    with pytest.raises(VersionConflict, match=f"{absent} is at version 1, not at the expected version 0"):
        await batcher.append(job_append(CREATED, relies_on={absent: 0}))
    assert await store.head() == 4


async def test_the_same_command_again_gets_the_first_answer(batcher: Batcher, store: EventStore) -> None:
    append = job_append(CREATED, STARTED, takes=SWEEP, command_id=uuid4(), request_hash=b"one")
    first = await batcher.append(append)
    await batcher.append(job_append(JobCompleted(), stream_id=append.stream_id, after=2))

    again = await batcher.append(append)
    assert again.replayed
    assert (again.version, again.position, again.events) == (first.version, first.position, 2)
    assert (again.occurred_at, again.recorded_at) == (first.occurred_at, first.recorded_at)
    assert await store.head() == 3
    assert append.command_id
    assert await store.command(append.command_id) == (again, b"one")


async def test_another_request_under_the_same_id_is_a_mismatch(batcher: Batcher, store: EventStore) -> None:
    command_id = uuid4()
    await batcher.append(job_append(CREATED, command_id=command_id, request_hash=b"one"))
    with pytest.raises(IdempotencyMismatch):
        await batcher.append(job_append(CREATED, command_id=command_id, request_hash=b"two"))
    assert await store.head() == 1
    assert await store.command(uuid4()) is None


async def test_a_failed_command_may_be_tried_again_under_its_id(batcher: Batcher) -> None:
    holder = (await batcher.append(job_append(CREATED, takes=SWEEP))).stream_id
    refused = job_append(CREATED, takes=SWEEP, command_id=uuid4())
    with pytest.raises(AlreadyTaken):
        await batcher.append(refused)
    await batcher.append(job_append(JobCompleted(), stream_id=holder, after=1, releases=SWEEP))
    assert not (await batcher.append(refused)).replayed


async def test_a_command_without_events_is_remembered_with_the_stream_as_it_stands(batcher: Batcher, store: EventStore) -> None:
    stream_id = (await batcher.append(job_append(CREATED, STARTED))).stream_id
    nothing = job_append(stream_id=stream_id, after=2, command_id=uuid4())
    first = await batcher.append(nothing)
    assert (first.version, first.position, first.events, first.replayed) == (2, 2, 0, False)

    await batcher.append(job_append(JobCompleted(), stream_id=stream_id, after=2))
    again = await batcher.append(nothing)
    assert (again.version, again.position, again.events, again.replayed) == (2, 2, 0, True)
    assert await store.head() == 3


async def test_a_command_without_events_on_no_stream_leaves_no_stream(batcher: Batcher, store: EventStore) -> None:
    nothing = await batcher.append(job_append(command_id=uuid4()))
    assert (nothing.version, nothing.position) == (0, 0)
    assert await store.load(nothing.stream_id) is None


async def test_times_never_decrease(batcher: Batcher, store: EventStore) -> None:
    late, early = NOON + timedelta(hours=1), NOON - timedelta(hours=1)
    stream_id = (await batcher.append(job_append(CREATED, occurred_at=late))).stream_id
    answer = await batcher.append(job_append(STARTED, stream_id=stream_id, after=1, occurred_at=early))
    assert answer.occurred_at == late
    assert (await batcher.append(job_append(CREATED, occurred_at=early))).occurred_at == early

    events = await store.read(0, 10)
    assert [event.occurred_at for event in events] == [late, late, early]
    assert events[0].recorded_at <= events[1].recorded_at <= events[2].recorded_at


async def test_recorded_at_does_not_follow_a_clock_that_was_set_back(batcher: Batcher, database: Database) -> None:
    await batcher.append(job_append(CREATED))
    await database.pool.execute("ALTER TABLE es.events DISABLE TRIGGER refuse_change")
    ahead = await database.fetchval("UPDATE es.events SET recorded_at = recorded_at + interval '1 day' RETURNING recorded_at")
    assert (await batcher.append(job_append(CREATED))).recorded_at == ahead


async def test_a_password_hash_is_kept_beside_the_log(batcher: Batcher, database: Database) -> None:
    stream_id = (await batcher.append(job_append(CREATED, credential="first"))).stream_id
    with pytest.raises(VersionConflict):
        await batcher.append(job_append(STARTED, stream_id=stream_id, credential="refused"))
    await batcher.append(job_append(STARTED, stream_id=stream_id, after=1, credential="second"))
    assert await database.fetchval("SELECT hash FROM es.credentials WHERE stream_id = $1", stream_id) == "second"
    assert await database.fetchval("SELECT count(*) FROM es.events WHERE data::text || metadata::text LIKE '%second%'") == 0


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_stricter_isolation_level_is_refused(
    database: Database, isolation: Literal["repeatable_read", "serializable"]
) -> None:
    async with database.connection() as connection:
        with pytest.raises(asyncpg.InvalidTransactionStateError, match="READ COMMITTED only"):
            async with connection.transaction(isolation=isolation):
                await connection.fetch(SQL, *[()] * 25)


async def test_fewer_events_than_the_command_says_are_refused(database: Database) -> None:
    command = [[uuid4()], ["Job"], [TENANT], [0], [2], [NOON], ["{}"], [None], [None], [None]]
    event = [[1], [uuid4()], [1], ["JobCreated"], [1], ['{"name": "sweep"}']]
    with pytest.raises(asyncpg.RaiseError, match="have 2 events, but 1 were given"):
        await database.fetch(SQL, *command, *event, *[()] * 9)
    assert await database.fetchval("SELECT count(*) FROM es.events") == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE es.events SET type = 'JobForged'",
        "DELETE FROM es.events",
        "TRUNCATE es.events",
        "TRUNCATE es.events CASCADE",
        "UPDATE es.events_from_1 SET type = 'JobForged'",
        "DELETE FROM es.events_from_1 WHERE position = 1",
        "TRUNCATE es.events_from_1",
    ],
)
async def test_events_are_never_changed(batcher: Batcher, database: Database, store: EventStore, change: str) -> None:
    await batcher.append(job_append(CREATED))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="events are never changed"):
        await database.pool.execute(change)
    assert [event.event for event in await store.read(0, 10)] == [CREATED]
