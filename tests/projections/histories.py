"""Made-up histories, appended without asking a rule, and what a plain fold makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st

from app.domain.aggregate import Aggregate, Event, Stream
from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.eventstore.append import Append
from app.eventstore.batcher import Batcher
from app.eventstore.recorded import RecordedEvent
from tests.domain.strategies import anything

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CAST: tuple[Aggregate[Any, Any, Any], ...] = (USER, USER, USER, ROLE, ROLE, TENANT)
"""The streams of a made-up history."""

AGGREGATES = {aggregate.stream_type: aggregate for aggregate in CAST}


class History:
    """Appends events to streams that it begins itself."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._versions: dict[UUID, int] = {}
        self.position = 0

    async def add(
        self, aggregate: Aggregate[Any, Any, Any], stream_id: UUID, *events: Event, tenant_id: UUID, at: datetime = NOON
    ) -> None:
        """Append events to one stream; the log then reaches to `position`."""
        await self.add_all([(aggregate, stream_id, tenant_id, at, events)])

    async def add_all(self, appends: Iterable[tuple[Aggregate[Any, Any, Any], UUID, UUID, datetime, tuple[Event, ...]]]) -> None:
        """Append events to several streams, together."""
        appended = await self._batcher.append_all([self._append(*each) for each in appends])
        self.position = appended[-1].position

    def begun(self, stream_id: UUID) -> bool:
        """Whether the stream has an event."""
        return stream_id in self._versions

    def _append(
        self, aggregate: Aggregate[Any, Any, Any], stream_id: UUID, tenant_id: UUID, at: datetime, events: tuple[Event, ...]
    ) -> Append:
        version = self._versions.get(stream_id, 0)
        self._versions[stream_id] = version + len(events)
        return Append(
            stream_id=stream_id,
            stream_type=aggregate.stream_type,
            tenant_id=tenant_id,
            expected_version=version,
            events=events,
            event_ids=tuple(uuid4() for _ in events),
            occurred_at=at,
            metadata={"actor": "test"},
        )


def steps() -> st.SearchStrategy[list[tuple[int, Event, Event, int]]]:
    """Which stream of the cast goes on, with what if it has begun or not, and how many hours later."""

    def step(place: int) -> st.SearchStrategy[tuple[int, Event, Event, int]]:
        events = CAST[place].events
        return st.tuples(st.just(place), anything(events[:1]), anything(events), st.integers(0, 2))

    return st.lists(st.one_of([step(place) for place in range(len(CAST))]), min_size=1, max_size=16)


async def played(batcher: Batcher, steps: Iterable[tuple[int, Event, Event, int]]) -> tuple[list[UUID], int]:
    """Append a made-up history; the ids of its streams, and the position of its last event."""
    history, ids, tenant_id, at = History(batcher), [uuid4() for _ in CAST], uuid4(), NOON
    for place, first, later, hours in steps:
        at += timedelta(hours=hours)
        event = later if history.begun(ids[place]) else first
        await history.add(CAST[place], ids[place], event, tenant_id=tenant_id, at=at)
    return ids, history.position


def folded(events: Iterable[RecordedEvent], counts: Callable[[RecordedEvent], bool] = lambda _: True) -> dict[UUID, Stream[Any]]:
    """Every stream, folded from those events that count."""
    streams: dict[UUID, Stream[Any]] = {}
    for recorded in filter(counts, events):
        fold_on(streams, recorded)
    return streams


def fold_on(streams: dict[UUID, Stream[Any]], recorded: RecordedEvent) -> None:
    """Bring the event's stream to where it is after it."""
    before = streams.get(recorded.stream_id)
    streams[recorded.stream_id] = Stream(
        id=recorded.stream_id,
        type=recorded.stream_type,
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        position=recorded.position,
        state=AGGREGATES[recorded.stream_type].evolve(before and before.state, recorded.event, recorded.occurred_at),
    )
