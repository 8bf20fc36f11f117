"""Following the log: whoever goes on after the last event they got misses nothing and gets nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from app.eventstore.batcher import Batcher
from app.eventstore.bell import Bell
from app.eventstore.event_filter import EventFilter
from app.eventstore.feed import Feed
from app.eventstore.paging import PageRequest
from app.eventstore.store import EventStore
from app.eventstore.tail import Tail
from tests.eventstore.job import JobCreated, job_append

pytestmark = pytest.mark.anyio

CREATED = JobCreated(name="sweep")


async def followed(feed: Feed, filter: EventFilter, after: int, end: int) -> list[int]:
    """The positions that a follower gets up to the position `end`."""
    got: list[int] = []
    while after < end:
        events, after = await feed.after(after, filter)
        got += [event.position for event in events]
    return got


@pytest.mark.parametrize("page_size", [1, 3, 1000])
async def test_followers_from_anywhere_get_each_event_once_while_others_append(
    store: EventStore, batcher: Batcher, page_size: int
) -> None:
    before, since = 12, 40
    grown = Bell()
    feed = Feed(store, Tail(store, page_size), grown)
    for _ in range(before):
        await batcher.append(job_append(CREATED))

    async def append() -> None:
        for _ in range(since // 4):
            await batcher.append(job_append(CREATED))
            grown.ring()

    end = before + since
    starts = range(before + 1)
    got, *_ = await asyncio.gather(
        asyncio.gather(*(followed(feed, EventFilter(), after, end) for after in starts)), *(append() for _ in range(4))
    )
    assert got == [list(range(after + 1, end + 1)) for after in starts]


async def test_an_event_that_was_read_is_let_through_by_the_same_filters_as_by_a_query(
    store: EventStore, batcher: Batcher
) -> None:
    for _ in range(3):
        await batcher.append(job_append(CREATED))
    log = await store.read(0, 10)
    one = log[1]
    filters = [
        EventFilter(),
        EventFilter(types=(one.type,)),
        EventFilter(types=()),
        EventFilter(tenant_id=one.tenant_id),
        EventFilter(tenant_id=one.event_id),
        EventFilter(stream_id=one.stream_id),
        EventFilter(actor=one.metadata.get("actor", "nobody")),
        EventFilter(correlation_id="none"),
        EventFilter(occurred_after=one.occurred_at),
        EventFilter(occurred_before=one.occurred_at),
        EventFilter(from_position=2),
        EventFilter(to_position=2),
        EventFilter(up_to_version=0),
    ]
    for filter in filters:
        page = await store.events(filter, PageRequest(first=10), newest_first=False)
        assert [event for event in log if filter.lets_through(event)] == page.items, filter
