"""The log crosses from one partition into the next without anybody noticing."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.eventstore.batcher import Batcher
from app.eventstore.bulk import Fact, append_bulk
from app.eventstore.database import Database
from app.eventstore.event_filter import EventFilter
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.eventstore.states import HISTORY
from app.eventstore.store import PART_OF_STREAM, EventStore
from tests.eventstore.job import NOON, TENANT, JobCreated, JobStarted, job_append

pytestmark = pytest.mark.anyio

SPAN = 10


@pytest.fixture
async def small_partitions(database: Database) -> None:
    await database.pool.execute(
        f"CREATE OR REPLACE FUNCTION es.partition_span() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {SPAN}::bigint'"
    )


def attempts(count: int) -> list[JobStarted]:
    return [JobStarted(worker_name="ann", attempt=attempt) for attempt in range(1, count + 1)]


async def spans(database: Database) -> list[tuple[int, int]]:
    return [tuple(row) for row in await database.fetch("SELECT * FROM es.partitions ORDER BY first_position")]


@pytest.mark.usefixtures("small_partitions")
async def test_appends_cross_into_new_partitions(batcher: Batcher, store: EventStore, database: Database) -> None:
    stream_id = uuid4()
    await batcher.append(job_append(JobCreated(name="sweep"), *attempts(6), stream_id=stream_id))
    assert await spans(database) == [(1, 10)]
    await batcher.append(job_append(*attempts(26), stream_id=stream_id, after=7))
    assert await spans(database) == [(1, 10), (11, 20), (21, 30), (31, 40)]
    await batcher.append(job_append(*attempts(7), stream_id=stream_id, after=33))
    assert len(await spans(database)) == 4, "the last one is full, and not a position more"
    await batcher.append(job_append(JobCreated(name="mop")))
    assert (await spans(database))[-1] == (41, 50)

    assert [event.position for event in await store.read(0, 100)] == list(range(1, 42))
    assert [event.version for event in await store.stream_events(stream_id, 9, 23)] == list(range(9, 24))
    stream, then = await store.load(stream_id), await store.state_at(stream_id, Moment(position=29))
    assert stream
    assert then
    assert (stream.version, stream.position, stream.state.attempt) == (40, 40, 7)
    assert (then.version, then.state.attempt) == (29, 22)
    page = await store.events(EventFilter(stream_id=stream_id), PageRequest(last=25), newest_first=True)
    assert [event.position for event in page.items] == list(range(25, 0, -1))


@pytest.mark.usefixtures("small_partitions")
async def test_imports_cross_into_new_partitions(batcher: Batcher, store: EventStore, database: Database) -> None:
    facts = [
        Fact(
            line=number,
            event_id=UUID(int=number),
            stream_id=UUID(int=1000 + number // 4),
            stream_type="Job",
            version=number % 4 + 1,
            type="JobStarted" if number % 4 else "JobCreated",
            tenant_id=TENANT,
            data='{"worker": "ann"}' if number % 4 else f'{{"name": "{number}"}}',
            occurred_at=NOON + timedelta(minutes=number),
        )
        for number in range(100)
    ]
    assert (await append_bulk(store, facts, batch=33)).added == 100
    assert await spans(database) == [(first, first + SPAN - 1) for first in range(1, 100, SPAN)]
    assert [event.event_id.int for event in await store.read(0, 1000)] == list(range(100))
    assert (await batcher.append(job_append(JobCreated(name="mop")))).position == 101
    assert (await append_bulk(store, facts, batch=33)).added == 0


@pytest.mark.usefixtures("small_partitions")
async def test_a_stream_is_looked_for_in_its_own_partitions_only(batcher: Batcher, store: EventStore, database: Database) -> None:
    stream_id = uuid4()
    for first in (job_append(JobCreated(name="a"), *attempts(14)), job_append(JobCreated(name="b"), stream_id=stream_id)):
        await batcher.append(first)
    await batcher.append(job_append(JobCreated(name="c"), *attempts(20)))
    for query, *arguments in (
        (HISTORY, [stream_id], [], [], [], None, None, None),
        (HISTORY, [stream_id], [], [], [], None, 16, None),
        (PART_OF_STREAM, stream_id, 1, 9),
    ):
        async with database.connection() as connection, connection.transaction():
            rows = await connection.fetch(query, *arguments)
            assert [row["version"] for row in rows if row["version"]] == [1]
            visited = await connection.fetch(
                "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan + idx_scan > 0 AND relname LIKE 'events_from_%'"
            )
            assert [row["relname"] for row in visited] == ["events_from_11"]


@pytest.mark.usefixtures("small_partitions")
async def test_a_partition_refuses_change_as_the_log_does(batcher: Batcher, database: Database) -> None:
    await batcher.append(job_append(JobCreated(name="sweep"), *attempts(14)))
    for change in ("UPDATE es.events_from_11 SET version = 9", "DELETE FROM es.events_from_11", "TRUNCATE es.events_from_11"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="events are never changed"):
            await database.pool.execute(change)


@pytest.mark.usefixtures("small_partitions")
async def test_a_failed_append_makes_no_partition_and_no_gap(batcher: Batcher, store: EventStore, database: Database) -> None:
    used = job_append(JobCreated(name="sweep"))
    await batcher.append(used)
    with pytest.raises(asyncpg.UniqueViolationError):
        await batcher.append(job_append(*attempts(30), event_ids=used.event_ids * 30))
    assert await spans(database) == [(1, 10)]
    assert (await batcher.append(job_append(JobCreated(name="mop")))).position == 2
