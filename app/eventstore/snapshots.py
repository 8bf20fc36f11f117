"""Snapshots: folded states that are kept beside the log, so that a long stream is not folded from its beginning.

A snapshot is a cache. It is tied to the code that folded it, may be deleted at any time, and is made off the write path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.domain.aggregate import Stream
from app.errors import DatabaseUnavailable
from app.eventstore.database import Database, Reads
from app.eventstore.folds import Folds

KEEP = """
    INSERT INTO es.snapshots (stream_id, version, fingerprint, tenant_id, position, occurred_at, state, reason, made_at)
    SELECT e.stream_id, e.version, new.fingerprint, e.tenant_id, e.position, e.occurred_at, new.state, $6, clock_timestamp()
      FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::bytea[]) AS new (id, version, position, fingerprint, state)
      JOIN es.events e ON e.position = new.position AND e.stream_id = new.id AND e.version = new.version
        ON CONFLICT (stream_id, version, fingerprint) DO UPDATE
       SET state = excluded.state, reason = coalesce(excluded.reason, snapshots.reason), made_at = excluded.made_at
"""

PRUNE = """
    WITH ranked AS (
        SELECT stream_id, version, fingerprint, made_at,
               row_number() OVER (PARTITION BY stream_id, fingerprint ORDER BY version DESC) AS rank
          FROM es.snapshots WHERE $1::uuid[] IS NULL OR stream_id = ANY ($1)
    ), dropped AS (
        DELETE FROM es.snapshots s USING ranked r
         WHERE (s.stream_id, s.version, s.fingerprint) = (r.stream_id, r.version, r.fingerprint)
           AND (r.rank > $2 OR (r.rank > 1 AND r.made_at < now() - make_interval(days => $3))
                OR r.fingerprint <> ALL ($4::text[]))
        RETURNING 1
    )
    SELECT count(*) FROM dropped
"""

OF_STREAM = """
    SELECT version, position, occurred_at, reason, made_at, length(state) AS bytes, fingerprint = ANY ($2) AS usable
      FROM es.snapshots WHERE stream_id = $1 ORDER BY version DESC, made_at DESC
"""

STATISTICS = """
    SELECT count(*) AS snapshots, count(DISTINCT stream_id) AS streams,
           count(*) FILTER (WHERE fingerprint <> ALL ($1)) AS of_other_code, count(reason) AS by_hand,
           coalesce(sum(length(state)), 0)::bigint AS bytes, min(made_at) AS oldest, max(made_at) AS newest
      FROM es.snapshots
"""

OLDEST_DAYS = 90
"""Snapshots that are older are dropped, save the newest of a stream."""

log = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of a stream, without the state."""

    version: int
    position: int
    occurred_at: datetime
    """When the last event that is folded into it occurred."""
    reason: str | None
    """Why it was made by hand; None for one that the policy made."""
    made_at: datetime
    bytes: int
    """Its size, compressed."""
    usable: bool
    """Whether the code of this program folded it; otherwise it is ignored."""


class SnapshotStats(msgspec.Struct, frozen=True, kw_only=True):
    """All snapshots in figures."""

    snapshots: int
    streams: int
    """How many streams have one."""
    of_other_code: int
    """How many were folded by other code than this program's, which ignores them."""
    by_hand: int
    bytes: int
    """The size of all, compressed."""
    oldest: datetime | None
    newest: datetime | None


class Snapshots:
    """Makes, keeps and drops snapshots. As an async context manager it makes those that are due, until the block is left."""

    def __init__(self, database: Database, folds: Folds, *, every: int = 100, kept: int = 5) -> None:
        """One is due after each `every` events of a stream; the newest `kept` of a stream stay."""
        self._database = database
        self._folds = folds
        self._every = every
        self._kept = kept
        self._due: dict[UUID, Stream[Any]] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Snapshots:
        self._due = {}
        self._making = asyncio.create_task(self._make_all(), name="snapshots")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._making.cancel()
        with suppress(asyncio.CancelledError):
            await self._making
        await self._make()

    def offer(self, stream: Stream[Any], since: int) -> None:
        """The stream is folded, of which the state at version `since` was known before: made a snapshot soon, if one is due."""
        if self._due is not None and stream.version // self._every > since // self._every:
            self._due[stream.id] = stream
            self._news.set()

    async def keep(self, streams: Collection[Stream[Any]], reason: str | None = None) -> None:
        """Make snapshots of the streams as they are given, and drop those that are too many of theirs."""
        prints = self._folds.fingerprints
        columns = [(each.id, each.version, each.position, prints[each.type], self._folds.pack(each)) for each in streams]
        await self._database.fetch(KEEP, *map(list, zip(*columns, strict=True)), reason)
        await self._database.fetchval(PRUNE, [each.id for each in streams], self._kept, OLDEST_DAYS, None)

    async def prune(self) -> int:
        """Drop what the policy does not keep, and what other code folded; returns how many."""
        usable = list(self._folds.fingerprints.values())
        dropped: int = await self._database.fetchval(PRUNE, None, self._kept, OLDEST_DAYS, usable)
        return dropped

    async def of_stream(self, id: UUID, reads: Reads) -> list[Snapshot]:
        """The stream's snapshots, the newest version first."""
        rows = await reads.fetch(OF_STREAM, id, list(self._folds.fingerprints.values()))
        return [Snapshot(**row) for row in rows]

    async def stats(self, reads: Reads) -> SnapshotStats:
        """All snapshots in figures."""
        row = await reads.fetchrow(STATISTICS, list(self._folds.fingerprints.values()))
        assert row is not None
        return SnapshotStats(**row)

    async def _make_all(self) -> None:
        while await self._news.wait():
            self._news.clear()
            await self._make()

    async def _make(self) -> None:
        if self._due:
            due, self._due = self._due, {}
            try:
                await self.keep(due.values())
            except DatabaseUnavailable as error:
                log.warning("%s snapshots are left out: %s", len(due), error)
            except Exception:  # they are a cache, and the next ones may be made
                log.exception("%s snapshots could not be made", len(due))
