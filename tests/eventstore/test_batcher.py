"""Commands that share a call do not hinder each other, and whoever waits gets an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from app.domain.aggregate import Claim
from app.embedded import running
from app.errors import AlreadyTaken, BadInput, DatabaseUnavailable, IdempotencyMismatch, VersionConflict
from app.eventstore.append import Append, Appended
from app.eventstore.batcher import Batcher, apart
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.migrate import migrate
from app.eventstore.store import EventStore
from tests.conftest import UNSAFE_BUT_FAST
from tests.eventstore.job import JobCompleted, JobCreated, JobStarted, job_append
from tests.eventstore.locks import log_locked, waiting

pytestmark = pytest.mark.anyio

CREATED = JobCreated(name="sweep")
STARTED = JobStarted(worker_name="ann", attempt=1)
SWEEP = frozenset({Claim("jobName", "sweep")})


async def at_once(batcher: Batcher, *appends: Append) -> list[Appended | BaseException]:
    """The answers to commands that wait at the same instant."""
    return await asyncio.gather(*(batcher.append(append) for append in appends), return_exceptions=True)


async def test_commands_that_wait_together_become_one_transaction(batcher: Batcher, database: Database) -> None:
    await at_once(batcher, *(job_append(CREATED) for _ in range(20)))
    assert await database.fetchval("SELECT count(DISTINCT xmin::text) FROM es.streams") == 1


async def test_one_of_two_writers_of_a_version_wins(batcher: Batcher, store: EventStore) -> None:
    stream_id = uuid4()
    first, second, other = await at_once(
        batcher, job_append(CREATED, stream_id=stream_id), job_append(CREATED, stream_id=stream_id), job_append(CREATED)
    )
    assert isinstance(first, Appended)
    assert isinstance(second, VersionConflict)
    assert (second.expected, second.actual) == (0, 1)
    assert isinstance(other, Appended)
    assert await store.head() == 2


async def test_commands_for_one_stream_are_taken_in_order(batcher: Batcher, store: EventStore) -> None:
    stream_id = uuid4()
    answers = await at_once(
        batcher,
        job_append(CREATED, stream_id=stream_id),
        job_append(STARTED, stream_id=stream_id, after=1),
        job_append(JobCompleted(), stream_id=stream_id, after=2),
    )
    assert [answer.version for answer in answers if isinstance(answer, Appended)] == [1, 2, 3]


async def test_one_of_two_takers_of_a_claim_wins(batcher: Batcher) -> None:
    first, second = await at_once(batcher, job_append(CREATED, takes=SWEEP), job_append(CREATED, takes=SWEEP))
    assert isinstance(first, Appended)
    assert isinstance(second, AlreadyTaken)
    assert second.holder == first.stream_id


async def test_a_claim_released_is_free_for_the_next_in_line(batcher: Batcher) -> None:
    holder = (await batcher.append(job_append(CREATED, takes=SWEEP))).stream_id
    answers = await at_once(
        batcher, job_append(JobCompleted(), stream_id=holder, after=1, releases=SWEEP), job_append(CREATED, takes=SWEEP)
    )
    assert [type(answer) for answer in answers] == [Appended, Appended]


async def test_a_stream_relied_on_that_moves_just_before_is_a_conflict(batcher: Batcher) -> None:
    relied_on = (await batcher.append(job_append(CREATED))).stream_id
    moved, relying = await at_once(
        batcher, job_append(STARTED, stream_id=relied_on, after=1), job_append(CREATED, relies_on={relied_on: 1})
    )
    assert isinstance(moved, Appended)
    assert isinstance(relying, VersionConflict)
    assert relying.stream_id == relied_on


async def test_a_stream_relied_on_may_move_just_after(batcher: Batcher) -> None:
    relied_on = (await batcher.append(job_append(CREATED))).stream_id
    answers = await at_once(
        batcher, job_append(CREATED, relies_on={relied_on: 1}), job_append(STARTED, stream_id=relied_on, after=1)
    )
    assert [type(answer) for answer in answers] == [Appended, Appended]


async def test_a_command_sent_twice_at_once_is_carried_out_once(batcher: Batcher, store: EventStore) -> None:
    append = job_append(CREATED, command_id=uuid4(), request_hash=b"one")
    other = job_append(CREATED, command_id=append.command_id, request_hash=b"two")
    first, again, mismatch = await at_once(batcher, append, append, other)
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert (first.replayed, again.replayed, again.position) == (False, True, first.position)
    assert isinstance(mismatch, IdempotencyMismatch)
    assert await store.head() == 1


async def test_what_cannot_be_stored_fails_alone(batcher: Batcher, store: EventStore) -> None:
    first, nul, last = await at_once(
        batcher, job_append(CREATED), job_append(CREATED, metadata={"actor": "\0"}), job_append(CREATED)
    )
    assert isinstance(nul, BadInput)
    assert [type(first), type(last)] == [Appended, Appended]
    assert await store.head() == 2


async def test_a_fault_hits_the_one_to_blame(batcher: Batcher, store: EventStore) -> None:
    used = job_append(CREATED)
    await batcher.append(used)
    fault, fine = await at_once(batcher, job_append(CREATED, event_ids=used.event_ids), job_append(CREATED))
    assert isinstance(fault, asyncpg.UniqueViolationError)
    assert isinstance(fine, Appended)
    assert await store.head() == 2


async def test_positions_are_told_after_the_commit(database: Database, codec: Codec, store: EventStore) -> None:
    told: list[int] = []
    async with Batcher(database, codec, on_append=told.append) as batcher:
        await at_once(batcher, *(job_append(CREATED, STARTED) for _ in range(3)))
        await at_once(batcher, job_append(STARTED, after=7), job_append(command_id=uuid4()))
    assert told == [6]


async def test_a_database_that_was_never_migrated_is_an_error_and_not_a_wait(postgres: str, codec: Codec) -> None:
    database = await Database.open(postgres)
    async with Batcher(database, codec) as batcher:
        for answer in await at_once(batcher, job_append(CREATED), job_append(CREATED)):
            assert isinstance(answer, asyncpg.InvalidSchemaNameError)
    await database.close()


class TestAllOrNothing:
    async def test_all(self, batcher: Batcher, store: EventStore) -> None:
        appends = [job_append(CREATED, takes=frozenset({Claim("jobName", str(number))})) for number in range(1000)]
        answers = await batcher.append_all(appends)
        assert [answer.position for answer in answers] == list(range(1, 1001))
        assert [answer.stream_id for answer in answers] == [append.stream_id for append in appends]

    async def test_nothing(self, batcher: Batcher, store: EventStore) -> None:
        await batcher.append(job_append(CREATED, takes=SWEEP))
        with pytest.raises(AlreadyTaken) as taken:
            await batcher.append_all([job_append(CREATED), job_append(CREATED, takes=SWEEP), job_append(STARTED, after=3)])
        assert taken.value.index == 1
        assert await store.head() == 1

    async def test_commands_that_touch_each_other_are_taken_in_order(self, batcher: Batcher, store: EventStore) -> None:
        stream_id = uuid4()
        answers = await batcher.append_all(
            [
                job_append(CREATED, stream_id=stream_id, takes=SWEEP),
                job_append(CREATED),
                job_append(JobCompleted(), stream_id=stream_id, after=1, releases=SWEEP),
                job_append(CREATED, takes=SWEEP),
            ]
        )
        assert [answer.version for answer in answers] == [1, 1, 2, 1]
        assert sorted(answer.position for answer in answers) == [1, 2, 3, 4]

    async def test_nothing_of_the_earlier_ones_stays(self, batcher: Batcher, store: EventStore) -> None:
        with pytest.raises(AlreadyTaken) as taken:
            await batcher.append_all([job_append(CREATED, takes=SWEEP), job_append(CREATED), job_append(CREATED, takes=SWEEP)])
        assert taken.value.index == 2
        assert await store.head() == 0

    async def test_of_nothing_comes_nothing(self, batcher: Batcher) -> None:
        assert await batcher.append_all([]) == []

    async def test_others_that_wait_are_not_part_of_it(self, batcher: Batcher, store: EventStore) -> None:
        single, several, last = await asyncio.gather(
            batcher.append(job_append(CREATED)),
            batcher.append_all([job_append(CREATED), job_append(STARTED, after=1)]),
            batcher.append(job_append(CREATED)),
            return_exceptions=True,
        )
        assert isinstance(several, VersionConflict)
        assert [type(single), type(last)] == [Appended, Appended]
        assert await store.head() == 2


def test_only_commands_that_touch_each_other_are_kept_apart() -> None:
    writer, reader = job_append(CREATED), job_append(CREATED)
    assert apart([writer, reader]) == ([0, 1], [])
    same_stream = job_append(STARTED, stream_id=writer.stream_id, after=1)
    assert apart([writer, same_stream, reader]) == ([0, 2], [1])
    relying = job_append(CREATED, relies_on={writer.stream_id: 1})
    assert apart([relying, relying, reader]) == ([0, 2], [1])
    assert apart([job_append(CREATED, relies_on={writer.stream_id: 1}), relying]) == ([0, 1], [])
    assert apart([writer, relying]) == ([0], [1])
    assert apart([relying, writer]) == ([0], [1])
    assert apart([writer, same_stream, job_append(CREATED, relies_on={writer.stream_id: 2})]) == ([0], [1, 2])


class TestWhenTheDatabaseGoesAway:
    async def test_a_command_under_way_may_have_been_written(
        self, batcher: Batcher, database: Database, store: EventStore
    ) -> None:
        append = job_append(CREATED, command_id=uuid4())
        async with log_locked(database):
            under_way = asyncio.create_task(batcher.append(append))
            [(session, _)] = await waiting(database)
            await database.pool.execute("SELECT pg_terminate_backend($1)", session)
            with pytest.raises(DatabaseUnavailable, match="is not known, and sending it again with the same"):
                await under_way
        assert not (await batcher.append(append)).replayed
        assert await store.head() == 1

    async def test_nothing_is_written_while_it_is_gone_and_all_works_again_when_it_is_back(
        self, folder: Path, codec: Codec
    ) -> None:
        with running(folder, options=UNSAFE_BUT_FAST) as url:
            await migrate(url)
            database = await Database.open(url)
            batcher = await Batcher(database, codec).__aenter__()
            await batcher.append(job_append(CREATED))
        with pytest.raises(DatabaseUnavailable):  # it may find out only by sending
            await batcher.append(job_append(CREATED))
        with pytest.raises(DatabaseUnavailable, match="nothing was written"):
            await batcher.append(job_append(CREATED))
        with pytest.raises(DatabaseUnavailable):
            await EventStore(database, codec).head()
        with running(folder, options=UNSAFE_BUT_FAST):
            assert (await batcher.append(job_append(CREATED))).position == 2
            assert await EventStore(database, codec).head() == 2
            await batcher.__aexit__()
            await database.close()


async def test_a_caller_that_goes_away_does_not_stop_its_batch(batcher: Batcher, database: Database, store: EventStore) -> None:
    async with log_locked(database):
        gone, staying = (asyncio.create_task(batcher.append(job_append(CREATED))) for _ in range(2))
        await waiting(database)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert (await staying).position == 2
    assert await store.head() == 2


async def test_leaving_carries_out_what_waits_and_takes_no_more(database: Database, codec: Codec, store: EventStore) -> None:
    async with Batcher(database, codec) as batcher:
        waits = asyncio.create_task(batcher.append(job_append(CREATED)))
        await asyncio.sleep(0)
    assert (await waits).position == 1
    with pytest.raises(DatabaseUnavailable, match="stopping; nothing was written"):
        await batcher.append(job_append(CREATED))
