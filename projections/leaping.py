"""Takes a generation that is far behind forward by many events at once.

They are folded as in a rebuild: stream by stream and from columns, each row written once however many of them it has. While
PostgreSQL writes the rows of some streams, the next are folded and those after them are read, over other connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from app.eventstore.ahead import ahead
from app.eventstore.database import Connection
from app.eventstore.recorded import Excerpt
from app.eventstore.store import EventStore
from projections.copying import CopyFold, fold_excerpts, fold_for_copy, folds_excerpts
from projections.folding import Changes, Parked, Place
from projections.generations import Generation
from projections.parking import parked_among
from projections.projection import Key
from projections.writing import Writing

FAR = 5
"""Pages that a generation lacks before it is worth while to take several at once."""

LONGEST = 50
"""Pages that are taken at once: their rows must fit into memory, and nobody sees any of them before all are written."""

AT_ONCE = 4000
"""Rows that are written at a time: a COPY waits for its turn a few times while events are folded, so it pays to have few."""


class Leaps:
    """What the workers of one process share for such steps. They take one at a time: it needs memory, and three connections."""

    def __init__(self, store: EventStore, page_size: int) -> None:
        self.store = store
        self.turn = asyncio.Lock()
        self._page_size = page_size
        self._head = 0

    async def look(self) -> None:
        """Learn how long the log is."""
        self._head = await self.store.head()

    def target(self, generation: Generation, after: int, until: int | None) -> int | None:
        """Where a step from that position ends; None when there is not far to go, or when the rows are not an aggregate's."""
        end = self._head if until is None else min(self._head, until)
        if end - after < FAR * self._page_size or not folds_excerpts(generation.projection):
            return None
        return min(end, after + LONGEST * self._page_size)


class Found(msgspec.Struct, frozen=True):
    """What is read at a time: excerpts of some streams, the rows that they have, and where events of them wait."""

    excerpts: Sequence[Excerpt]
    rows: dict[Key, Any]
    parked: frozenset[Place]


class Leap:
    """One step of one generation: the events after one position and up to another."""

    def __init__(self, store: EventStore, generation: Generation, after: int, until: int) -> None:
        self._store = store
        self._generation = generation
        self._span = after, until
        fold = fold_for_copy(generation.projection, store.codec)
        assert isinstance(fold, CopyFold), "only an aggregate's rows are folded from excerpts"
        self._fold = fold
        self._parked: set[Place] = set()

    async def write(
        self, connection: Connection, writing: Writing[Any], *, any_parked: bool
    ) -> tuple[Sequence[Parked], Collection[Place]]:
        """Fold the events and write the rows; what was not folded, to be parked, and the places at which events waited before.

        Raises one of REFUSED for a row.
        """
        async with aclosing(ahead(self._changes(writing, any_parked))) as changes:
            async for each in changes:
                await writing.copy(connection, each)
        return self._fold.parking.take(), self._parked

    async def _changes(self, writing: Writing[Any], any_parked: bool) -> AsyncGenerator[Changes]:
        left = list[Excerpt]()
        async with aclosing(ahead(self._found(writing, any_parked))) as pieces:
            async for found in pieces:
                left += await self._folded(found)
                if self._fold.unwritten >= AT_ONCE and (changes := self._fold.take()):
                    yield changes
        if left:
            async with self._store.database.connection() as connection:
                self._fold.apply(await self._store.events_of(left, connection))  # one by one, to park what cannot be
        if changes := self._fold.take():
            yield changes

    async def _found(self, writing: Writing[Any], any_parked: bool) -> AsyncGenerator[Found]:
        projection = self._generation.projection
        async with aclosing(self._store.excerpts(*self._span, projection.reads, 0, 1)) as excerpts:
            async for some in excerpts:
                keys: list[Key] = [(each.stream_id,) for each in some]
                async with self._store.database.connection() as connection:
                    rows = await writing.load(connection, keys)
                    parked = await parked_among(connection, self._generation, keys, some) if any_parked else frozenset[Place]()
                yield Found(some, rows, parked)

    async def _folded(self, found: Found) -> list[Excerpt]:
        """Fold the excerpts; those that cannot be."""
        fold = self._fold
        # A long stream has several excerpts: with the second of them its row is further than when it was looked up.
        fold.remember([key for each in found.excerpts if (key := (each.stream_id,)) not in fold], found.rows)
        self._parked |= found.parked
        fold.parking.closed |= found.parked
        return await fold_excerpts(fold, found.excerpts)
