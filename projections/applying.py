"""Applies events to the rows of one generation within a transaction, so that one that cannot be applied stops its key only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeAlias

import asyncpg

from app.errors import UnreadableEvent
from app.eventstore.database import Connection
from app.eventstore.recorded import RecordedEvent
from projections.folding import Changes, Fold, KeyOf, Parked, Place, touched
from projections.projection import Key
from projections.writing import Writing

REFUSED = (
    UnreadableEvent,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What is wrong when a row cannot be written as the fold made it: a fault of its events, not of the database."""

Apply: TypeAlias = Callable[
    [Connection, Writing[Any], Sequence[RecordedEvent], Collection[Place], KeyOf], Awaitable[Sequence[Parked]]
]


async def together(
    connection: Connection, writing: Writing[Any], events: Sequence[RecordedEvent], parked: Collection[Place], key: KeyOf
) -> Sequence[Parked]:
    """Fold a page of events and write the rows; what was not folded, to be parked. Raises one of REFUSED for a row."""
    fold = await _folded(connection, writing, events, parked, key)
    if changes := fold.take():
        await writing.write(connection, changes)
    return fold.parking.events


async def changes_of(connection: Connection, writing: Writing[Any], events: Sequence[RecordedEvent]) -> Changes | None:
    """What a page of events makes of rows for which none wait; None if one of them must wait, or a row goes."""
    fold = await _folded(connection, writing, events, (), writing.projection.key)
    changes = fold.take()
    return None if fold.parking.events or changes is None or changes.gone else changes


async def _folded(
    connection: Connection, writing: Writing[Any], events: Sequence[RecordedEvent], parked: Collection[Place], key: KeyOf
) -> Fold[Any]:
    fold = Fold(writing.projection, await writing.load(connection, touched(events, key)), parked, key)
    fold.apply(events)
    return fold


async def one_by_one(
    connection: Connection, writing: Writing[Any], events: Sequence[RecordedEvent], parked: Collection[Place], key: KeyOf
) -> Sequence[Parked]:
    """The same an event and a row at a time, which finds the event whose row is refused: it is parked as well."""
    closed, waiting = set(parked), list[Parked]()
    for recorded in events:
        for only in _each_row(recorded, key):
            found = await _one(connection, writing, recorded, closed, only)
            closed.update(each.place for each in found)
            waiting += found
            if recorded.stream_id in closed:
                break  # there it waits once for all its rows
    return waiting


async def _one(
    connection: Connection, writing: Writing[Any], recorded: RecordedEvent, parked: Collection[Place], key: KeyOf
) -> Sequence[Parked]:
    try:
        async with connection.transaction():
            return await together(connection, writing, [recorded], parked, key)
    except REFUSED as error:
        (row,) = key(recorded)
        return [Parked(row, recorded, error)]


def _each_row(recorded: RecordedEvent, key: KeyOf) -> Sequence[KeyOf]:
    """What says that the event touches the one row, then what says the next; `key` itself when that fails."""
    try:
        return [_always(row) for row in key(recorded)]
    except Exception:
        return [key]


def _always(row: Key) -> KeyOf:
    return lambda _: (row,)
