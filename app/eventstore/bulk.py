"""Taking in events that happened elsewhere: in the given order, checked like any other, and written by COPY.

Each batch is a transaction under the log's lock. What is in the log already is passed over, so that the same import may be
run again, after a mistake is mended or for no reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from app.errors import ImportStopped
from app.eventstore.database import Connection, Transaction
from app.eventstore.facts import BadFact, ClaimKey, Fact, Facts, Tail
from app.eventstore.garbage import without_collector
from app.eventstore.store import EventStore
from app.eventstore.tables import WRITTEN

__all__ = ["BulkResult", "Fact", "append_bulk"]

BATCH = 10_000
"""Facts in a transaction, during which nobody else appends: a third of a second. Half as many take a fifth longer each."""

REMEMBERED_STREAMS = 100_000
"""How many folded streams an import keeps, at most, from one batch to the next."""

HEAD = """
    SELECT coalesce(max(position), 0), greatest(clock_timestamp(), max(recorded_at))
    FROM (SELECT position, recorded_at FROM es.events ORDER BY position DESC LIMIT 1) AS newest
"""

KNOWN_EVENTS = "SELECT event_id, stream_id, version FROM es.events WHERE event_id = ANY ($1)"

STREAMS = """
    SELECT stream_id, version, first_position, last_position, last_occurred_at FROM es.streams WHERE stream_id = ANY ($1)
"""

MOVE_STREAMS = """
    UPDATE es.streams stream
    SET version = moved.version, last_position = moved.last_position, last_occurred_at = moved.last_occurred_at
    FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::timestamptz[])
        moved (stream_id, version, last_position, last_occurred_at)
    WHERE stream.stream_id = moved.stream_id
"""

HELD_CLAIMS = """
    SELECT tenant_id, kind, value, stream_id
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS wanted (tenant_id, kind, value)
    JOIN es.claims USING (tenant_id, kind, value)
"""

DROP_CLAIMS = """
    DELETE FROM es.claims AS held USING unnest($1::uuid[], $2::text[], $3::text[]) AS changed (tenant_id, kind, value)
    WHERE (held.tenant_id, held.kind, held.value) = (changed.tenant_id, changed.kind, changed.value)
"""

CLAIM = ("tenant_id", "kind", "value", "stream_id")
STREAM = ("stream_id", "stream_type", "tenant_id", "version", "first_position", "last_position", "last_occurred_at")


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many facts there were, how many of them were new, and how far the log reaches now."""

    seen: int
    added: int
    position: int


async def append_bulk(
    store: EventStore,
    facts: Iterable[Fact],
    *,
    batch: int = BATCH,
    on_progress: Callable[[int, int], None] = lambda seen, added: None,
) -> BulkResult:
    """Append facts that are not yet in the log, `batch` of them a transaction, and keep their order.

    `on_progress` is told after each transaction how many facts were seen and added so far. The iterable may raise
    ImportStopped for a line that it cannot read; the facts before that line go in first.
    Raises ImportStopped with the line, the reason and how many were added; of the transaction with a bad fact nothing stays.
    Raises DatabaseUnavailable too.
    """
    bulk = Bulk(store)
    seen = added = 0
    try:
        with without_collector():
            for part in parts(facts, batch):
                added += await bulk.append(part)
                seen += len(part)
                on_progress(seen, added)
    except BadFact as bad:
        raise ImportStopped(bad.line, bad.reason, added) from bad
    except ImportStopped as stopped:
        raise ImportStopped(stopped.line, stopped.reason, added) from stopped
    return BulkResult(seen=seen, added=added, position=await store.head())


def parts(facts: Iterable[Fact], size: int) -> Iterator[list[Fact]]:
    """The facts in lists. What came before an error is given out before the error is raised."""
    part: list[Fact] = []
    try:
        for fact in facts:
            part.append(fact)
            if len(part) == size:
                yield part
                part = []
    except ImportStopped:
        yield part
        raise
    yield part


class Bulk:
    """An import under way: what one transaction learned of the streams serves the next, unless others write to them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._tails: dict[UUID, Tail] = {}

    async def append(self, facts: Sequence[Fact]) -> int:
        """Append in one transaction the facts that are new, and return how many. Raises BadFact; then nothing is written."""
        if not facts:
            return 0
        async with self._store.database.connection() as connection, connection.transaction(isolation="read_committed"):
            await connection.execute("SELECT es.lock_log()")
            [(head, now)] = await connection.fetch(HEAD)
            rows = await connection.fetch(KNOWN_EVENTS, [fact.event_id for fact in facts]) if head else []
            known = {event_id: (stream_id, version) for event_id, stream_id, version in rows}
            await self._find_tails(connection, {fact.stream_id for fact in facts if fact.event_id not in known})
            new = Facts(self._store.codec, known, self._tails, head, now)
            try:
                for fact in facts:
                    new.add(fact)
            finally:  # a claim that is taken may make an earlier line the first bad one
                claims = await _handover(connection, new)
            await _write(connection, new, claims)
        return len(new.records)

    async def _find_tails(self, connection: Connection, stream_ids: set[UUID]) -> None:
        if len(self._tails) > REMEMBERED_STREAMS:
            self._tails.clear()
        rows = {row["stream_id"]: row for row in await connection.fetch(STREAMS, stream_ids)}
        stale = [id for id, row in rows.items() if id not in self._tails or self._tails[id].version != row["version"]]
        streams = await self._store.load_many(stale, Transaction(connection))
        for stream_id, stream in streams.items():
            aggregate, row = self._store.codec.aggregates[stream.type], rows[stream_id]
            self._tails[stream_id] = Tail(
                stream_type=stream.type,
                tenant_id=stream.tenant_id,
                version=stream.version,
                first_position=row["first_position"],
                last_position=stream.position,
                occurred_at=row["last_occurred_at"],
                state=stream.state,
                claims=aggregate.claims(stream.state),
            )


class Handover(NamedTuple):
    """What the new facts do to the claims."""

    dropped: list[ClaimKey]
    added: list[tuple[UUID, str, str, UUID]]
    """Each with the stream that holds it now."""


async def _handover(connection: Connection, new: Facts) -> Handover:
    """Raises BadFact for the first claim that is taken."""
    touched = new.claims_touched()
    held = await connection.fetch(HELD_CLAIMS, *zip(*touched, strict=True)) if touched else []
    before: dict[ClaimKey, UUID] = {(tenant_id, kind, value): holder for tenant_id, kind, value, holder in held}
    holders = {key: before.get(key) for key in touched}
    new.hand_over_claims(holders)
    changed = {key: holder for key, holder in holders.items() if holder != before.get(key)}
    return Handover(
        dropped=[key for key in changed if key in before],
        added=[(*key, holder) for key, holder in changed.items() if holder],
    )


async def _write(connection: Connection, new: Facts, claims: Handover) -> None:
    if not new.records:
        return
    await connection.execute("SELECT es.cover($1)", new.position)
    try:
        await connection.copy_records_to_table("events", schema_name="es", columns=WRITTEN, records=new.records)
    except asyncpg.DataError as error:
        raise _bad_record(new, error) from error
    await connection.execute("SELECT es.raise_watermarks($1)", new.position)
    begun, moved = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for id, tail in new.moved.items():
        if tail.first_position > new.head:
            place = (tail.version, tail.first_position, tail.last_position, tail.occurred_at)
            begun.append((id, tail.stream_type, tail.tenant_id, *place))
        else:
            moved.append((id, tail.version, tail.last_position, tail.occurred_at))
    await connection.copy_records_to_table("streams", schema_name="es", columns=STREAM, records=begun)
    if moved:
        await connection.execute(MOVE_STREAMS, *zip(*moved, strict=True))
    if claims.dropped:
        await connection.execute(DROP_CLAIMS, *zip(*claims.dropped, strict=True))
    await connection.copy_records_to_table("claims", schema_name="es", columns=CLAIM, records=claims.added)


def _bad_record(new: Facts, error: asyncpg.PostgresError) -> BadFact:
    """The fact at which COPY stopped, whose number PostgreSQL tells, and why."""
    number = re.search(r"line (\d+)", error.context or "")
    return BadFact(new.lines[int(number[1]) - 1 if number else 0], f"PostgreSQL cannot store it: {error}")
