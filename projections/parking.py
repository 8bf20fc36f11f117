"""The events that wait because one of them could not be folded: where each generation keeps them, until they are retried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from traceback import format_exception
from urllib.parse import quote
from uuid import UUID

from app.errors import UnreadableEvent
from app.eventstore.database import Connection
from app.eventstore.recorded import Excerpt, RecordedEvent
from projections.folding import Parked, Place
from projections.generations import Generation
from projections.projection import Key

PATIENCE = 300.0
"""Seconds that a statement about a page of events may take."""

PARK = """
    INSERT INTO es.dead_letters AS letter (projection, generation, key, position, event_id, error, traceback, attempts, parked_at)
    SELECT $1, $2, key, position, event_id, error, traceback, (error IS NOT NULL)::integer, now()
    FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[]) new (key, position, error, traceback)
    JOIN es.events USING (position)
    ON CONFLICT (projection, generation, key, position)
    DO UPDATE SET error = excluded.error, traceback = excluded.traceback, attempts = letter.attempts + 1
    WHERE excluded.error IS NOT NULL
"""
"""An event that waits already and fails once more has another attempt; one that goes on waiting stays as it is."""

AMONG = """
    SELECT DISTINCT key FROM es.dead_letters
    WHERE projection = $1 AND generation = $2 AND key = ANY ($3) AND skipped_at IS NULL
"""

COUNT = "UPDATE es.generations SET parked = parked + $3 WHERE projection = $1 AND generation = $2"
"""The number of places where events wait has changed by so many."""

RELEASE = """
    DELETE FROM es.dead_letters
    WHERE projection = $1 AND generation = $2 AND key = $3 AND position = ANY ($4) AND skipped_at IS NULL
"""


def text_of(place: Place) -> str:
    """The place as it is stored and shown: the values of the row's key with / between them, or `stream:` and the stream's id.

    A value's own / and : are percent-encoded, so no two places share a text.
    """
    if isinstance(place, UUID):
        return f"stream:{place}"
    return "/".join(quote(str(value), safe="") for value in place)


async def parked_among(
    connection: Connection, generation: Generation, keys: Iterable[Key], events: Iterable[RecordedEvent | Excerpt]
) -> frozenset[Place]:
    """Which of these rows, and of the streams of these events, have events waiting."""
    places: set[Place] = {*keys, *(recorded.stream_id for recorded in events)}
    by_text = {text_of(place): place for place in places}
    found = await connection.fetch(AMONG, generation.projection.name, generation.number, list(by_text), timeout=PATIENCE)
    return frozenset(by_text[row["key"]] for row in found)


async def park(connection: Connection, generation: Generation, parked: Sequence[Parked]) -> None:
    """Keep the events until they are retried. To be called in the transaction that writes what the others came to."""
    if parked:
        rows = [(text_of(each.place), each.recorded.position, *_reason(each.error)) for each in parked]
        columns = zip(*rows, strict=True)
        await connection.execute(PARK, generation.projection.name, generation.number, *columns, timeout=PATIENCE)


async def release(connection: Connection, generation: Generation, key: str, positions: Collection[int]) -> None:
    """Keep these events no longer: they were folded, or went to other places."""
    await connection.execute(RELEASE, generation.projection.name, generation.number, key, positions, timeout=PATIENCE)


def newly_closed(parked: Iterable[Parked], before: Collection[Place]) -> int:
    """At how many places nothing waited before."""
    return len({each.place for each in parked}.difference(before))


def _reason(error: Exception | None) -> tuple[str | None, str | None]:
    """What is wrong in a line, and where it came from. PostgreSQL's text holds no U+0000."""
    if error is None:
        return None, None
    message = error.message if isinstance(error, UnreadableEvent) else f"{type(error).__name__}: {error}"
    return message.replace("\0", "\\0"), "".join(format_exception(error)).replace("\0", "\\0")
