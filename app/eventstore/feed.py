"""The log as it grows, for all who follow it in one process: its end is read once, its past as each of them asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from app.eventstore.bell import Bell, rung_within
from app.eventstore.event_filter import EventFilter
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from app.eventstore.tail import Tail

POLL = 1.0
"""Seconds after which somebody who waits looks for events that nobody told of."""

LARGEST_PAGE = 200
"""Events that a follower gets at once."""


class Feed:
    """A place in the log is a position: who goes on after the last one they got misses nothing and gets nothing twice."""

    def __init__(self, store: EventStore, tail: Tail, grown: Bell) -> None:
        self._store = store
        self._tail = tail
        self._grown = grown
        self._end = 0
        """The last position of the log, as far as this has seen."""

    async def end(self) -> int:
        """The position of the newest event. Raises DatabaseUnavailable."""
        self._end = max(self._end, await self._store.head())
        return self._end

    async def after(self, position: int, filter: EventFilter) -> tuple[Sequence[RecordedEvent], int]:
        """The next events that the filter lets through, and the position up to which they are all. Waits until the log goes on.

        There may be none of them among what has come. One that cannot be decoded is an UndecodedEvent. Raises
        DatabaseUnavailable and BadInput.
        """
        if not self._end:
            await self.end()
        if self._end - position > self._tail.page_size:
            return await self._past(position, filter)
        page = await self._page(position)
        self._end = max(self._end, position + len(page))
        if len(page) == self._tail.page_size:
            await self.end()  # there is more, perhaps far more
        page = page[:LARGEST_PAGE]
        return [recorded for recorded in page if filter.lets_through(recorded)], position + len(page)

    async def _past(self, position: int, filter: EventFilter) -> tuple[Sequence[RecordedEvent], int]:
        end = self._end  # another follower may move it on meanwhile
        events = await self._store.next_events(filter, position, end, LARGEST_PAGE)
        return events, events[-1].position if len(events) == LARGEST_PAGE else end

    async def _page(self, position: int) -> list[RecordedEvent]:
        while True:
            grown = self._grown.listen()
            if page := await self._tail.page(position):
                return page
            await rung_within(grown, POLL)
