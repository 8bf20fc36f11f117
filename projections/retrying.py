"""Takes the events that wait for another attempt, or decides that one of them shall never count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.errors import BadInput
from app.eventstore.database import Connection
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections.applying import REFUSED, Apply, one_by_one, together
from projections.fingerprint import fingerprint
from projections.folding import KeyOf, touched
from projections.generations import Generation, prepared
from projections.parking import COUNT, newly_closed, park, parked_among, release, text_of
from projections.projection import Projection, named
from projections.writing import Writing

PAGE = 1000
"""Events that are folded at once."""

LOCK = "SELECT parked FROM es.generations WHERE projection = $1 AND generation = $2 FOR UPDATE"
KEYS = "SELECT DISTINCT key FROM es.dead_letters WHERE projection = $1 AND generation = $2 AND skipped_at IS NULL ORDER BY key"
WAITING = """
    SELECT position FROM es.dead_letters
    WHERE projection = $1 AND generation = $2 AND key = $3 AND skipped_at IS NULL ORDER BY position LIMIT $4
"""
SKIP = """
    UPDATE es.dead_letters SET skipped_at = now(), skipped_by = $5, skipped_reason = $6
    WHERE projection = $1 AND generation = $2 AND key = $3 AND position = $4 AND skipped_at IS NULL
"""


class Skip(msgspec.Struct, frozen=True):
    """The decision that an event shall not count for a row."""

    position: int
    by: str
    reason: str


class Retried(msgspec.Struct, frozen=True):
    """What came of another attempt."""

    applied: int
    """Events that wait there no longer."""
    parked: int
    """Keys of the projection that are parked still."""


class Retrying:
    """Works on the generation that this program's fold made, and under its lock as a worker does."""

    def __init__(self, store: EventStore, projections: Sequence[Projection[Any]]) -> None:
        self._store = store
        self._projections = projections

    async def retry(self, projection: str, key: str | None = None) -> Retried:
        """Fold the events that wait at the key, or at every key of the projection, in their order, as far as that goes.

        Each key is one transaction. Raises BadInput for a projection that does not exist, or a key where nothing waits.
        """
        generation = await self._generation(projection)
        if key is not None:
            return await self._retried(generation, await self._retry(generation, key))
        keys = [row["key"] for row in await self._store.database.fetch(KEYS, *_id(generation))]
        return await self._retried(generation, sum([await self._retry(generation, each) or 0 for each in keys]))

    async def skip(self, projection: str, key: str, position: int, *, by: str, reason: str) -> Retried:
        """Never fold the first event that waits at the key, which is the one at that position, and retry those behind it.

        The reason is kept. Raises BadInput when it is empty, or when another event is the first.
        """
        if not reason.strip():
            raise BadInput("reason", "says why the event shall not count: it must not be empty")
        generation = await self._generation(projection)
        return await self._retried(generation, await self._retry(generation, key, Skip(position, by, reason.strip())))

    async def _generation(self, name: str) -> Generation:
        projection = named(self._projections, name)
        found = await prepared(self._store.database, projection, fingerprint(projection, self._store.codec))
        if found is None:
            raise BadInput("projection", f"{name} was not built by this release of the program, which cannot retry for another")
        return found

    async def _retried(self, generation: Generation, applied: int | None) -> Retried:
        if applied is None:
            raise BadInput("key", f"no event of {generation.projection.name} waits there")
        row = await self._store.database.fetchrow(
            "SELECT parked FROM es.generations WHERE projection = $1 AND generation = $2", *_id(generation)
        )
        return Retried(applied, row["parked"] if row else 0)

    async def _retry(self, generation: Generation, key: str, skip: Skip | None = None) -> int | None:
        """How many events were applied; None when none waits at the key."""
        try:
            return await self._transaction(generation, key, skip, together)
        except REFUSED:
            return await self._transaction(generation, key, skip, one_by_one)

    async def _transaction(self, generation: Generation, key: str, skip: Skip | None, apply: Apply) -> int | None:
        async with self._store.database.connection() as connection, connection.transaction():
            await connection.fetchval(LOCK, *_id(generation))
            first = await connection.fetchval(WAITING, *_id(generation), key, 1)
            if first is None:
                return None
            if skip is not None:
                await _skip(connection, generation, key, first, skip)
            attempt = _Attempt(self._store, connection, generation, key, apply)
            await attempt.run()
            await connection.execute(COUNT, *_id(generation), attempt.closed)
            return attempt.applied


class _Attempt:
    """Another attempt at all events that wait at one key, within a transaction."""

    def __init__(self, store: EventStore, connection: Connection, generation: Generation, key: str, apply: Apply) -> None:
        self.applied = 0
        self.closed = 0
        """By how many the places where events wait have become more."""
        self._store = store
        self._connection = connection
        self._generation = generation
        self._key = key
        self._apply = apply
        self._writing: Writing[Any] = Writing(generation)

    async def run(self) -> None:
        """Apply events until one fails again, or none is left."""
        while events := await self._events():
            if await self._page(events):
                return
        self.closed -= 1

    async def _events(self) -> list[RecordedEvent]:
        rows = await self._connection.fetch(WAITING, *_id(self._generation), self._key, PAGE)
        return await self._store.read_at([row["position"] for row in rows], self._connection)

    async def _page(self, events: Sequence[RecordedEvent]) -> bool:
        """Whether one of the events waits here still."""
        connection, generation, key = self._connection, self._generation, _rows_at(self._generation, self._key)
        found = await parked_among(connection, generation, touched(events, key), ())
        elsewhere = {place for place in found if text_of(place) != self._key}
        waiting = await self._apply(connection, self._writing, events, elsewhere, key)
        await park(connection, generation, waiting)
        here = {each.recorded.position for each in waiting if text_of(each.place) == self._key}
        gone = [recorded.position for recorded in events if recorded.position not in here]
        await release(connection, generation, self._key, gone)
        self.applied += len(gone)
        self.closed += newly_closed((each for each in waiting if text_of(each.place) != self._key), elsewhere)
        return bool(here)


def _rows_at(generation: Generation, key: str) -> KeyOf:
    """For which rows an event counts that waits at the place with this text."""
    of_event = generation.projection.key
    if key.startswith("stream:"):
        return of_event
    return lambda recorded: [row for row in of_event(recorded) if text_of(row) == key]


async def _skip(connection: Connection, generation: Generation, key: str, first: int, skip: Skip) -> None:
    if skip.position != first:
        raise BadInput("position", f"the first event that waits at {key!r} is at position {first}, not {skip.position}")
    await connection.execute(SKIP, *_id(generation), key, first, skip.by, skip.reason)


def _id(generation: Generation) -> tuple[str, int]:
    return generation.projection.name, generation.number
