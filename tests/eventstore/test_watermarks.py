"""For every so many positions the log knows when the earliest of them occurred, and the latest of all up to there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.eventstore.batcher import Batcher
from app.eventstore.bulk import Fact, append_bulk
from app.eventstore.database import Database
from app.eventstore.event_filter import EventFilter
from app.eventstore.paging import PageRequest
from app.eventstore.store import EventStore
from app.eventstore.watermarks import within
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


def wanted(times: Sequence[datetime]) -> list[tuple[int, datetime, datetime]]:
    ends = range(SPAN, len(times) + 1, SPAN)
    return [(end, min(times[end - SPAN : end]), max(times[:end])) for end in ends]


async def watermarks(database: Database) -> list[tuple[int, datetime, datetime]]:
    return [tuple(row) for row in await database.fetch("SELECT position, earliest, latest FROM es.watermarks ORDER BY position")]


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


@pytest.fixture
async def imported(store: EventStore) -> EventStore:
    await append_bulk(store, facts(at(MINUTES)))
    return store


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(since=st.none() | st.integers(-2, 100), until=st.none() | st.integers(-2, 100))
async def test_no_event_of_a_span_of_time_is_elsewhere(imported: EventStore, since: int | None, until: int | None) -> None:
    first, last = (None if minute is None else NOON + timedelta(minutes=minute) for minute in (since, until))
    positions = await within(imported.database, first, last)
    for position, time in enumerate(at(MINUTES), start=1):
        if (first is None or first <= time) and (last is None or time <= last):
            assert positions.first <= position <= positions.last
    if since is not None and until is not None and 30 < since < until < 35:
        assert positions.last - positions.first < 2 * SPAN, "there the log is in order"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    since=st.none() | st.integers(-2, 100),
    until=st.none() | st.integers(-2, 100),
    types=st.sampled_from([None, ("JobCreated",), ("JobCreated", "JobStarted")]),
    newest_first=st.booleans(),
)
async def test_events_of_a_span_of_time(
    imported: EventStore, since: int | None, until: int | None, types: tuple[str, ...] | None, *, newest_first: bool
) -> None:
    first, last = (None if minute is None else NOON + timedelta(minutes=minute) for minute in (since, until))
    filter = EventFilter(types=types, occurred_after=first, occurred_before=last)
    wanted = [
        position
        for position, time in enumerate(at(MINUTES), start=1)
        if (first is None or first <= time) and (last is None or time < last)
    ]
    page = await imported.events(filter, PageRequest(first=100), newest_first=newest_first)
    assert [each.position for each in page.items] == (wanted[::-1] if newest_first else wanted)
    assert await imported.count(filter) == len(wanted)
    assert [each.position for each in await imported.next_events(filter, 7, 40, 100)] == [
        position for position in wanted if 7 < position <= 40
    ]
