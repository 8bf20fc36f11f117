"""Streams as they are and as they were, and the log by page."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Aggregate, Stream
from app.errors import BadInput, UnknownEventType, UnreadableEvent, VersionPastEnd
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.event_filter import EventFilter
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.eventstore.recorded import RecordedEvent, UndecodedEvent
from app.eventstore.store import EventStore
from tests.eventstore.job import (
    JOB,
    NOON,
    TENANT,
    Job,
    JobCompleted,
    JobCreated,
    JobEvent,
    JobStarted,
    evolve,
    job_append,
)

pytestmark = pytest.mark.anyio

CREATED = JobCreated(name="sweep")
STARTED = JobStarted(worker_name="ann", attempt=1)

EVENTS = st.builds(JobStarted, worker_name=st.sampled_from("abc"), attempt=st.integers(1, 9)) | st.builds(
    JobCompleted, result=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
)
LATER = st.integers(0, 2).map(lambda minutes: timedelta(minutes=minutes))
HISTORIES = st.lists(st.tuples(st.lists(EVENTS, max_size=3), LATER), max_size=5)
"""For each append after the first: its events, and how long after the one before it."""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=st.lists(HISTORIES, min_size=1, max_size=3))
async def test_a_stream_at_any_moment_is_the_fold_of_its_events(
    batcher: Batcher, store: EventStore, histories: list[list[tuple[list[JobEvent], timedelta]]]
) -> None:
    async def write(stream_id: UUID, history: list[tuple[list[JobEvent], timedelta]]) -> list[Stream[Job]]:
        """Append a history, and fold it as it goes."""
        at = NOON
        folded: list[Stream[Job]] = []
        job: Job | None = None
        first: tuple[list[JobEvent], timedelta] = ([CREATED], timedelta(0))
        for events, pause in [first, *history]:
            at += pause
            appended = await batcher.append(job_append(*events, stream_id=stream_id, after=len(folded), occurred_at=at))
            for place, event in enumerate(events, 1 - len(events)):
                job = evolve(job, event, at)
                version, position = appended.version + place, appended.position + place
                folded.append(Stream(id=stream_id, type="Job", tenant_id=TENANT, version=version, position=position, state=job))
                times[stream_id, at] = folded[-1]
        return folded

    times: dict[tuple[UUID, datetime], Stream[Job]] = {}
    ids = [uuid4() for _ in histories]
    written = await asyncio.gather(*(write(stream_id, history) for stream_id, history in zip(ids, histories, strict=True)))

    assert await store.load_many([*ids, uuid4()]) == {stream[-1].id: stream[-1] for stream in written}
    for stream_id, folded in zip(ids, written, strict=True):
        assert await store.state_at(stream_id, Moment(version=0)) is None
        assert await store.state_at(stream_id, Moment(position=folded[0].position - 1)) is None
        for stream in folded:
            assert await store.state_at(stream_id, Moment(version=stream.version)) == stream
            assert await store.state_at(stream_id, Moment(position=stream.position)) == stream
    for (stream_id, at), stream in times.items():
        assert await store.state_at(stream_id, Moment(timestamp=at)) == stream


async def test_a_stream_that_does_not_exist_is_none_at_any_moment(store: EventStore) -> None:
    assert await store.load(uuid4()) is None
    assert await store.load_many([]) == {}
    for moment in (Moment(version=1), Moment(position=1), Moment(timestamp=NOON)):
        assert await store.state_at(uuid4(), moment) is None
    assert await store.head() == 0
    assert await store.event(uuid4()) is None


async def test_before_the_first_event_a_stream_was_not_there(batcher: Batcher, store: EventStore) -> None:
    await batcher.append(job_append(CREATED))
    stream_id = (await batcher.append(job_append(CREATED, STARTED))).stream_id
    moments = (Moment(version=0), Moment(position=1), Moment(timestamp=NOON - timedelta(microseconds=1)))
    assert [await store.state_at(stream_id, moment) for moment in moments] == [None, None, None]


async def test_a_version_past_the_end_names_the_last(batcher: Batcher, store: EventStore) -> None:
    stream_id = (await batcher.append(job_append(CREATED, STARTED))).stream_id
    with pytest.raises(VersionPastEnd) as past:
        await store.state_at(stream_id, Moment(version=3))
    assert (past.value.version, past.value.last) == (3, 2)
    for moment in (Moment(position=99), Moment(timestamp=NOON + timedelta(days=1))):
        stream = await store.state_at(stream_id, moment)
        assert stream
        assert stream.version == 2


async def test_old_versions_are_upcast_wherever_events_are_read(batcher: Batcher, store: EventStore, database: Database) -> None:
    append = job_append(CREATED, STARTED)
    await batcher.append(append)
    await database.pool.execute("ALTER TABLE es.events DISABLE TRIGGER refuse_change")
    await database.pool.execute("""UPDATE es.events SET schema_version = 1, data = '{"worker": "ann"}' WHERE position = 2""")

    stream = await store.load(append.stream_id)
    assert stream
    assert stream.state == Job(name="sweep", worker_name="ann", attempt=1)
    read = await store.read(1, 1)
    assert read == await store.stream_events(append.stream_id, 2, 2) == await store.events_by_id([append.event_ids[1]])
    assert read[0] == await store.event(append.event_ids[1])
    assert (read[0].event, read[0].schema_version) == (STARTED, 1)


async def test_an_event_that_cannot_be_read_is_named_with_its_place(batcher: Batcher, database: Database) -> None:
    stream_id = (await batcher.append(job_append(CREATED, STARTED))).stream_id
    misplaced = (await batcher.append(job_append(STARTED))).stream_id

    half: Aggregate[Any, Any, Any] = msgspec.structs.replace(JOB, events=(JobCreated,), upcasters={})
    store = EventStore(database, Codec([half]))
    with pytest.raises(UnknownEventType, match=f"'JobStarted' in stream {stream_id} at position 2"):
        await store.load(stream_id)
    with pytest.raises(UnknownEventType, match="at position 2"):
        await store.read(0, 10)
    with pytest.raises(UnreadableEvent, match=f"JobStarted in stream {misplaced} at position 3 cannot be folded: Assertion"):
        await EventStore(database, Codec([JOB])).load(misplaced)


async def test_a_snapshot_does_not_move(batcher: Batcher, store: EventStore, database: Database) -> None:
    stream_id = (await batcher.append(job_append(CREATED))).stream_id
    async with database.snapshot() as snapshot:
        assert await store.head(snapshot) == 1
        await batcher.append(job_append(STARTED, stream_id=stream_id, after=1))
        stream, head, types = await asyncio.gather(
            store.load(stream_id, snapshot), store.head(snapshot), store.stream_types([stream_id], snapshot)
        )
        assert stream
        assert (stream.version, head, types) == (1, 1, {stream_id: ("Job", TENANT)})
    assert await store.head() == 2


class TestReading:
    async def test_in_pages_of_some_types_until_a_position(self, batcher: Batcher, store: EventStore) -> None:
        for _ in range(3):
            await batcher.append(job_append(CREATED, STARTED))
        assert [event.position for event in await store.read(2, 3)] == [3, 4, 5]
        assert [event.position for event in await store.read(0, 10, types=["JobStarted"])] == [2, 4, 6]
        assert [event.position for event in await store.read(0, 10, types=["JobStarted"], until=4)] == [2, 4]
        assert await store.read(6, 10) == []

    async def test_over_a_connection_of_the_callers(self, batcher: Batcher, store: EventStore, database: Database) -> None:
        await batcher.append(job_append(CREATED))
        async with database.connection() as connection:
            assert await store.read(0, 10, connection=connection) == await store.read(0, 10)


FILTERS = st.builds(
    EventFilter,
    types=st.sampled_from([None, ("JobStarted",), ("JobCreated", "JobCompleted"), ()]),
    tenant_id=st.sampled_from([None, TENANT, UUID(int=2)]),
    stream_id=st.sampled_from([None, None, UUID(int=11), UUID(int=12), UUID(int=99)]),
    actor=st.sampled_from([None, "ann", "bob", "nobody"]),
    correlation_id=st.sampled_from([None, None, "work 1", "work 2"]),
    causation_id=st.sampled_from([None, None, "message"]),
    occurred_after=st.sampled_from([None, NOON, NOON + timedelta(minutes=2)]),
    occurred_before=st.sampled_from([None, NOON + timedelta(minutes=2)]),
    from_position=st.sampled_from([None, 3]),
    to_position=st.sampled_from([None, 12]),
    up_to_version=st.sampled_from([None, 2]),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=FILTERS, size=st.integers(1, 6), newest_first=st.booleans())
async def test_pages_forwards_and_backwards_hold_each_event_once(
    batcher: Batcher, store: EventStore, filter: EventFilter, size: int, newest_first: bool
) -> None:
    if await store.head() == 0:
        for number in range(11, 16):
            metadata = {"actor": "ann" if number < 14 else "bob", "correlationId": f"work {number // 13}"}
            id, tenant_id = UUID(int=number), UUID(int=number % 2 + 1)
            append = job_append(CREATED, STARTED, STARTED, stream_id=id, tenant_id=tenant_id, metadata=metadata)
            await batcher.append(append)
            await batcher.append(
                msgspec.structs.replace(
                    append,
                    expected_version=3,
                    occurred_at=NOON + timedelta(minutes=number - 11),
                    events=(JobCompleted(),),
                    event_ids=(uuid4(),),
                    metadata=metadata | {"actor": "bob", "causationId": "message"},
                )
            )

    expected = [event for event in await store.read(0, 100) if lets_through(filter, event)]
    if newest_first:
        expected.reverse()
    assert await store.count(filter) == len(expected)

    forwards: list[RecordedEvent] = []
    after = None
    while True:
        page = await store.events(filter, PageRequest(first=size, after=after), newest_first=newest_first)
        assert page.has_previous == (after is not None)
        forwards += page.items
        if not page.has_next:
            break
        after = page.cursors[-1]
    assert forwards == expected

    backwards: list[RecordedEvent] = []
    before = None
    while True:
        page = await store.events(filter, PageRequest(last=size, before=before), newest_first=newest_first)
        assert page.has_next == (before is not None)
        backwards = page.items + backwards
        if not page.has_previous:
            break
        before = page.cursors[0]
    assert backwards == expected


def lets_through(filter: EventFilter, event: RecordedEvent) -> bool:
    return all(
        (
            filter.types is None or event.type in filter.types,
            filter.tenant_id in (None, event.tenant_id),
            filter.stream_id in (None, event.stream_id),
            filter.actor in (None, event.metadata.get("actor")),
            filter.correlation_id in (None, event.metadata.get("correlationId")),
            filter.causation_id in (None, event.metadata.get("causationId")),
            filter.occurred_after is None or event.occurred_at >= filter.occurred_after,
            filter.occurred_before is None or event.occurred_at < filter.occurred_before,
            filter.from_position is None or event.position >= filter.from_position,
            filter.to_position is None or event.position <= filter.to_position,
            filter.up_to_version is None or event.version <= filter.up_to_version,
        )
    )


async def test_events_of_a_type_that_another_release_wrote_are_found(batcher: Batcher, database: Database) -> None:
    await batcher.append(job_append(CREATED, STARTED))
    older = EventStore(database, Codec([msgspec.structs.replace(JOB, events=(JobCreated,), upcasters={})]))
    for filter in (EventFilter(), EventFilter(actor="test"), EventFilter(tenant_id=TENANT, actor="test")):
        events = await older.next_events(filter, 0, 2, 10)
        assert [(event.type, isinstance(event, UndecodedEvent)) for event in events] == [
            ("JobCreated", False),
            ("JobStarted", True),
        ]


async def test_a_filter_that_cannot_be_is_refused(store: EventStore) -> None:
    with pytest.raises(
        BadInput, match="types: there is no event type 'JobForged'; there are JobCreated, JobStarted, JobCompleted"
    ):
        await store.count(EventFilter(types=("JobForged",)))
    with pytest.raises(BadInput, match="occurredBefore: needs an offset"):
        await store.count(EventFilter(occurred_before=NOON.replace(tzinfo=None)))


async def test_a_cursor_of_another_filter_is_refused(batcher: Batcher, store: EventStore) -> None:
    await batcher.append(job_append(CREATED, STARTED))
    page = await store.events(EventFilter(), PageRequest(first=1), newest_first=True)
    with pytest.raises(BadInput, match="after: is a cursor of another filter or order"):
        await store.events(EventFilter(), PageRequest(first=1, after=page.cursors[0]), newest_first=False)
    with pytest.raises(BadInput, match="before: is a cursor of another filter or order"):
        await store.events(EventFilter(tenant_id=TENANT), PageRequest(first=1, before=page.cursors[0]), newest_first=True)
