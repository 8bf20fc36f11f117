"""Advances one generation: rows, twin and checkpoint in one transaction, so that each event counts exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg

from app.eventstore.database import Connection, Database
from app.eventstore.recorded import RecordedEvent
from app.eventstore.tail import Tail
from projections.applying import REFUSED, Apply, changes_of, one_by_one, together
from projections.folding import Parked, Place, touched
from projections.generations import Generation, switch
from projections.leaping import Leap, Leaps
from projections.moving import FAIL, LOOK, MOVE, TAKE
from projections.parking import newly_closed, park, parked_among, text_of
from projections.writing import Writing

Step: TypeAlias = Callable[[Connection, bool], Awaitable[tuple[Sequence[Parked], Collection[Place]]]]
"""Applies events, given whether any wait: those that could not be folded, and the places where others waited before."""

Stand: TypeAlias = "asyncpg.Record | None"
"""Of a generation that has moved on: whether it is live, and whether events of it wait. None when another worker has it."""

log = logging.getLogger(__name__)


class Worker:
    """One of any number, in any number of processes: whoever holds the generation's row while its checkpoint is the one
    that they read after, advances it; the others find out and look again.
    """

    def __init__(self, database: Database, tail: Tail, leaps: Leaps, generation: Generation) -> None:
        self.generation = generation
        self.checkpoint = 0
        self.live = False
        """Whether queries see this generation, as far as this process knows."""
        self._any_parked = True
        """Whether events of it wait; where none do, others park none unless they move it on as well."""
        self._superseded = False
        self._id = (generation.projection.name, generation.number)
        self._database = database
        self._tail = tail
        self._leaps = leaps
        self._by_pages_until = 0
        self._writing: Writing[Any] = Writing(generation)
        self._turn = asyncio.Lock()

    async def advance(self, until: int | None = None) -> int:
        """Apply the next page of the log, or many pages where that is far from its end, but nothing after the position `until`.

        Returns by how many positions the generation moved on: 0 at the log's end, when another worker has moved it, and
        while it is paused or rebuilt. An event that cannot be decoded, folded or written is parked, and later ones of the
        same key behind it.
        """
        async with self._turn:
            end = self._leaps.target(self.generation, self.checkpoint, until)
            if end is None or self.checkpoint < self._by_pages_until:
                return await self._page(until)
            try:
                return await self._moved_on(end, await self._leap(end))
            except REFUSED:
                self._by_pages_until = end  # one of the pages tells which event it is
                return await self._page(until)

    async def _leap(self, end: int) -> Stand:
        leap = Leap(self._leaps.store, self.generation, self.checkpoint, end)
        async with self._leaps.turn:
            return await self._transaction(
                end, lambda connection, any_parked: leap.write(connection, self._writing, any_parked=any_parked)
            )

    async def _page(self, until: int | None) -> int:
        events, end = await self._tail.after(self.checkpoint, self.generation.projection.reads)
        if end - self.checkpoint >= self._tail.page_size:
            await self._leaps.look()
        if until is not None and until < end:
            events, end = [recorded for recorded in events if recorded.position <= until], max(until, self.checkpoint)
        if end == self.checkpoint:
            return 0
        return await self._moved_on(end, await (self._apply(events, end) if events else self._move(self._database, end)))

    async def _moved_on(self, end: int, stand: Stand) -> int:
        """By how many positions, given how the generation that is at `end` now stands."""
        if stand is None:
            await self.look()
            return 0
        advanced, self.checkpoint = end - self.checkpoint, end
        self.live, self._any_parked = stand
        return advanced

    async def _apply(self, events: Sequence[RecordedEvent], end: int) -> Stand:
        try:
            stand = None if self._any_parked else await self._at_once(events, end)
            return stand or await self._transaction(end, self._applying(events, together))
        except REFUSED:
            return await self._transaction(end, self._applying(events, one_by_one))

    async def _at_once(self, events: Sequence[RecordedEvent], end: int) -> Stand:
        """By two statements, of which one writes it all: a third of the round trips. None also when it takes more than that."""
        with suppress(asyncpg.UndefinedTableError):  # has gone with its generation
            async with self._database.connection() as connection:
                if (changes := await changes_of(connection, self._writing, events)) is not None:
                    return await self._writing.write_and_move(connection, changes, *self._id, self.checkpoint, end)
        return None

    def _applying(self, events: Sequence[RecordedEvent], apply: Apply) -> Step:
        key = self.generation.projection.key

        async def step(connection: Connection, any_parked: bool) -> tuple[Sequence[Parked], Collection[Place]]:
            parked = await parked_among(connection, self.generation, touched(events, key), events) if any_parked else ()
            return await apply(connection, self._writing, events, parked, key), parked

        return step

    async def _transaction(self, end: int, step: Step) -> Stand:
        async with self._database.connection() as connection, connection.transaction():
            parked_keys = await connection.fetchval(TAKE, *self._id, self.checkpoint)
            if parked_keys is None:
                return None
            waiting, parked = await step(connection, parked_keys > 0)
            await park(connection, self.generation, waiting)
            stand = await self._move(connection, end, newly_closed(waiting, parked))
        for each in waiting:
            if each.error is not None:
                log.error("projection %s parks %s: %s", self._id[0], text_of(each.place), each.error)
        return stand

    async def _move(self, reads: Database | Connection, end: int, parked: int = 0) -> Stand:
        return await reads.fetchrow(MOVE, *self._id, self.checkpoint, end, parked)

    async def look(self) -> None:
        """Learn how far the generation is."""
        row = await self._database.fetchrow(LOOK, *self._id)
        self.checkpoint, self.live, self._any_parked = row or (self.checkpoint, False, True)

    async def go_live(self) -> None:
        """Let queries see this generation, if it has caught up with the one that they see and is newer."""
        if self.live or self._superseded:
            return
        # Queries that take long keep the views; whoever asks next time finds them free.
        with suppress(asyncpg.LockNotAvailableError):
            async with self._database.connection() as connection:
                live = await switch(connection, self.generation)
            self.live, self._superseded = live == self.generation.number, live > self.generation.number

    async def fail(self, reason: str) -> None:
        """Let everybody know why the generation does not advance."""
        await self._database.fetchval(FAIL, *self._id, self.checkpoint, reason)
