"""Many writers, and readers that follow them: one order for all, with nothing missing and nothing twice."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.errors import VersionConflict
from app.eventstore import sql
from app.eventstore.append import Append, Appended
from app.eventstore.batcher import Batcher
from app.eventstore.call import SQL, Encoded, call
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from tests.eventstore.job import JobCreated, JobEvent, JobStarted, job_append
from tests.eventstore.locks import PATIENCE, log_locked, waiting

pytestmark = pytest.mark.anyio

WRITERS = 64
CREATED = JobCreated(name="sweep")


@pytest.fixture
async def batchers(database: Database, codec: Codec) -> AsyncIterator[list[Batcher]]:
    """As many processes would have, each with its own connection."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Batcher(database, codec)) for _ in range(4)]


def event_after(version: int) -> JobEvent:
    return JobStarted(worker_name="ann", attempt=version) if version else CREATED


async def write(batcher: Batcher, stream_id: UUID, version: int) -> Appended:
    """Append one event, after as many attempts as it takes."""
    while True:
        try:
            return await batcher.append(job_append(event_after(version), stream_id=stream_id, after=version))
        except VersionConflict as conflict:
            version = conflict.actual


async def test_writers_of_one_stream_get_each_version_once(batchers: list[Batcher], store: EventStore) -> None:
    stream_id = uuid4()
    answers = await asyncio.gather(*(write(batchers[number % 4], stream_id, 0) for number in range(WRITERS)))
    assert sorted(answer.version for answer in answers) == list(range(1, WRITERS + 1))
    assert sorted(answer.position for answer in answers) == list(range(1, WRITERS + 1))
    events = await store.stream_events(stream_id, 1, WRITERS)
    assert [(event.version, event.position) for event in events] == sorted(
        (answer.version, answer.position) for answer in answers
    )


async def follow(store: EventStore, until: int) -> list[RecordedEvent]:
    """What a reader sees that asks again and again for what comes after the last event that it saw."""
    seen: list[RecordedEvent] = []
    async with asyncio.timeout(PATIENCE):
        while len(seen) < until:
            seen += await store.read(seen[-1].position if seen else 0, 7)
    return seen


async def test_writers_of_many_streams_leave_no_gap_and_readers_miss_nothing(batchers: list[Batcher], store: EventStore) -> None:
    each = 5
    readers = [asyncio.create_task(follow(store, WRITERS * each)) for _ in range(2)]

    async def write_one_stream(batcher: Batcher) -> None:
        stream_id = uuid4()
        for version in range(each):
            await batcher.append(job_append(event_after(version), stream_id=stream_id, after=version))

    await asyncio.gather(*(write_one_stream(batchers[number % 4]) for number in range(WRITERS)))
    log = await store.read(0, 1000)
    assert [event.position for event in log] == list(range(1, WRITERS * each + 1))
    for stream_id in {event.stream_id for event in log}:
        assert [event.version for event in log if event.stream_id == stream_id] == list(range(1, each + 1))
    for reader in readers:
        assert await reader == log


async def test_a_killed_writers_retry_finds_what_it_wrote(url: str, batcher: Batcher, store: EventStore) -> None:
    stream_id, command_id = uuid4(), uuid4()
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.eventstore.killed_writer", url, str(stream_id), str(command_id)),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await writer.communicate()
    assert (writer.returncode, output) == (-signal.SIGKILL, b"")

    retry = job_append(CREATED, stream_id=stream_id, command_id=command_id, request_hash=b"one")
    answer = await batcher.append(retry)
    assert (answer.replayed, answer.version, answer.position) == (True, 1, 1)
    assert await store.head() == 1


class TestTheLock:
    """One writer has not yet committed when the next one calls: with the lock it waits and goes on where the first ended.

    The same steps on functions with a mistake in them show that the test would see it.
    """

    @staticmethod
    async def two_writers(database: Database, codec: Codec) -> Appended | BaseException:
        """What the second gets, having called before the first committed."""

        async def append(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], append: Append) -> Appended:
            [answer] = await call(await connection.prepare(SQL), [Encoded.by(codec, append)])
            assert isinstance(answer, Appended)
            return answer

        async with database.pool.acquire() as first, database.pool.acquire() as second:
            await append(first, job_append(CREATED))
            async with first.transaction():
                await append(first, job_append(CREATED))
                late = asyncio.create_task(append(second, job_append(CREATED)))
                await waiting(database)
            return (await asyncio.gather(late, return_exceptions=True))[0]

    async def test_the_second_goes_on_where_the_first_ended(self, database: Database, codec: Codec) -> None:
        answer = await self.two_writers(database, codec)
        assert isinstance(answer, Appended)
        assert answer.position == 3

    @pytest.mark.parametrize("mistake", ["no lock", "lock after the first read"])
    async def test_without_it_the_second_takes_the_firsts_place(self, database: Database, codec: Codec, mistake: str) -> None:
        await database.pool.execute(with_mistake(mistake))
        assert isinstance(await self.two_writers(database, codec), asyncpg.UniqueViolationError)

    async def test_the_second_waits_for_the_lock_and_for_nothing_else(self, database: Database, batchers: list[Batcher]) -> None:
        async with log_locked(database):
            tasks = [asyncio.create_task(batcher.append(job_append(CREATED))) for batcher in batchers[:2]]
            assert [kind for _, kind in await waiting(database, sessions=2)] == ["advisory", "advisory"]
        assert sorted([(await task).position for task in tasks]) == [1, 2]


def with_mistake(mistake: str) -> str:
    """The append function, spoilt."""
    [function] = [text for text in sql.functions() if "FUNCTION es.append_events" in text]
    lock, first_read = "    PERFORM es.lock_log();\n", "ORDER BY e.position DESC LIMIT 1;\n"
    assert lock in function
    assert first_read in function
    without = function.replace(lock, "")
    return without if mistake == "no lock" else without.replace(first_read, first_read + lock)
