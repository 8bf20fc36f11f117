"""For every so many positions the log knows when the latest of all events up to there occurred."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from uuid import UUID, uuid4

import pytest

from app.eventstore.batcher import Batcher
from app.eventstore.bulk import Fact, append_bulk
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from tests.eventstore.job import NOON, TENANT, JobCompleted, JobCreated, job_append

pytestmark = pytest.mark.anyio

SPAN = 10
MINUTES = [*range(25), 3, 90, 4, 5, *range(25, 41)]
"""When the events of a log occurred, after noon: most of them in their order."""


@pytest.fixture(autouse=True)
async def short_spans(database: Database) -> None:
    await database.pool.execute(
        f"CREATE OR REPLACE FUNCTION es.watermark_span() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {SPAN}::bigint'"
    )


def at(minutes: Iterable[int]) -> list[datetime]:
    return [NOON + timedelta(minutes=minute) for minute in minutes]


def wanted(times: Sequence[datetime]) -> list[tuple[int, datetime]]:
    return list(enumerate(accumulate(times, max), start=1))[SPAN - 1 :: SPAN]


async def watermarks(database: Database) -> list[tuple[int, datetime]]:
    return [tuple(row) for row in await database.fetch("SELECT position, occurred_at FROM es.watermarks ORDER BY position")]


def facts(times: Iterable[datetime]) -> list[Fact]:
    return [
        Fact(
            line=line,
            event_id=uuid4(),
            stream_id=uuid4(),
            stream_type="Job",
            version=1,
            type="JobCreated",
            tenant_id=TENANT,
            data=f'{{"name": "{UUID(int=line)}"}}',
            occurred_at=time,
        )
        for line, time in enumerate(times)
    ]


async def test_appends_raise_it(batcher: Batcher, database: Database) -> None:
    for place, time in enumerate(at(MINUTES)):
        await batcher.append(job_append(JobCreated(name=str(place)), occurred_at=time))
        assert len(await watermarks(database)) == (place + 1) // SPAN
    assert await watermarks(database) == wanted(at(MINUTES))


async def test_one_append_may_pass_several(batcher: Batcher, database: Database) -> None:
    await batcher.append(job_append(JobCreated(name="sweep"), *[JobCompleted()] * 34))
    assert await watermarks(database) == wanted([NOON] * 35)


@pytest.mark.parametrize("batch", [7, 10, 1000])
async def test_imports_raise_it(store: EventStore, database: Database, batch: int) -> None:
    await append_bulk(store, facts(at(MINUTES)), batch=batch)
    assert await watermarks(database) == wanted(at(MINUTES))


async def test_those_that_are_lacking_come_with_the_next(batcher: Batcher, store: EventStore, database: Database) -> None:
    await append_bulk(store, facts(at(MINUTES)))
    await database.fetch("DELETE FROM es.watermarks WHERE position > 10")
    await batcher.append(job_append(JobCreated(name="sweep"), *[JobCompleted()] * SPAN, occurred_at=NOON))
    assert await watermarks(database) == wanted([*at(MINUTES), *[NOON] * (SPAN + 1)])
