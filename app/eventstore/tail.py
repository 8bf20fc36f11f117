"""The end of the log, as all who follow it in one process read it: a page once, although each of them asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore


class Tail:
    """Keeps the page that was read last. Events never change and positions have no gaps, so it never goes stale."""

    def __init__(self, store: EventStore, page_size: int) -> None:
        self.page_size = page_size
        self._store = store
        self._start = 0
        self._page: list[RecordedEvent] = []
        self._turn = asyncio.Lock()

    async def after(self, position: int, types: Collection[str]) -> tuple[list[RecordedEvent], int]:
        """The next events of these types, and the position up to which they are all: `position` itself at the log's end.

        One that cannot be decoded is an UndecodedEvent: a concern of those who ask for its data, and of nobody else.
        """
        page = await self.page(position)
        return [recorded for recorded in page if recorded.type in types], position + len(page)

    async def page(self, position: int) -> list[RecordedEvent]:
        """The next events after the position, of whatever types; none at the log's end."""
        async with self._turn:
            skip = position - self._start
            if not 0 <= skip < len(self._page):
                page = await self._store.read(position, self.page_size, undecoded=True)
                self._start, self._page, skip = position, page, 0
            return self._page[skip:]
