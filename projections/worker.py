"""Advances one generation: rows, twin and checkpoint in one transaction, so that each event counts exactly once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from app.eventstore.database import Connection, Database
from app.eventstore.recorded import RecordedEvent
from app.eventstore.tail import Tail
from projections.applying import REFUSED, Apply, one_by_one, together
from projections.folding import touched
from projections.generations import Generation, switch
from projections.parking import newly_closed, park, parked_among, text_of
from projections.writing import Writing

ADVANCES = "projection = $1 AND generation = $2 AND checkpoint = $3 AND status NOT IN ('rebuilding', 'paused')"
TAKE = f"SELECT parked FROM es.generations WHERE {ADVANCES} FOR UPDATE SKIP LOCKED"
MOVE = f"""
    UPDATE es.generations SET checkpoint = $4, parked = parked + $5, status = 'running', error = NULL, updated_at = now()
    WHERE {ADVANCES} RETURNING live
"""
LOOK = "SELECT checkpoint, live FROM es.generations WHERE projection = $1 AND generation = $2"
FAIL = f"UPDATE es.generations SET status = 'failed', error = $4, updated_at = now() WHERE {ADVANCES}"

log = logging.getLogger(__name__)


class Worker:
    """One of any number, in any number of processes: whoever holds the generation's row while its checkpoint is the one
    that they read after, advances it; the others find out and look again.
    """

    def __init__(self, database: Database, tail: Tail, generation: Generation) -> None:
        self.generation = generation
        self.checkpoint = 0
        self.live = False
        """Whether queries see this generation, as far as this process knows."""
        self._superseded = False
        self._id = (generation.projection.name, generation.number)
        self._database = database
        self._tail = tail
        self._writing: Writing[Any] = Writing(generation)
        self._turn = asyncio.Lock()

    async def advance(self, until: int | None = None) -> int:
        """Apply the next page of the log, but nothing after the position `until`.

        Returns by how many positions the generation moved on: 0 at the log's end, when another worker has moved it, and
        while it is paused or rebuilt. An event that cannot be decoded, folded or written is parked, and later ones of the
        same key behind it.
        """
        async with self._turn:
            events, end = await self._tail.after(self.checkpoint, self.generation.projection.reads)
            if until is not None and until < end:
                events, end = [recorded for recorded in events if recorded.position <= until], max(until, self.checkpoint)
            if end == self.checkpoint:
                return 0
            live = await self._apply(events, end) if events else await self._move(self._database, end)
            if live is None:
                await self.look()
                return 0
            advanced, self.checkpoint, self.live = end - self.checkpoint, end, live
            return advanced

    async def _apply(self, events: Sequence[RecordedEvent], end: int) -> bool | None:
        """Whether the generation, which has moved on to `end`, is live; None when another worker has it."""
        try:
            return await self._transaction(events, end, together)
        except REFUSED:
            return await self._transaction(events, end, one_by_one)

    async def _transaction(self, events: Sequence[RecordedEvent], end: int, apply: Apply) -> bool | None:
        key = self.generation.projection.key
        async with self._database.connection() as connection, connection.transaction():
            parked_keys = await connection.fetchval(TAKE, *self._id, self.checkpoint)
            if parked_keys is None:
                return None
            parked = await parked_among(connection, self.generation, touched(events, key), events) if parked_keys else ()
            waiting = await apply(connection, self._writing, events, parked, key)
            await park(connection, self.generation, waiting)
            live = await self._move(connection, end, newly_closed(waiting, parked))
        for each in waiting:
            if each.error is not None:
                log.error("projection %s parks %s: %s", self._id[0], text_of(each.place), each.error)
        return live

    async def _move(self, reads: Database | Connection, end: int, parked: int = 0) -> bool | None:
        live: bool | None = await reads.fetchval(MOVE, *self._id, self.checkpoint, end, parked)
        return live

    async def look(self) -> None:
        """Learn how far the generation is."""
        row = await self._database.fetchrow(LOOK, *self._id)
        self.checkpoint, self.live = row or (self.checkpoint, False)

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
