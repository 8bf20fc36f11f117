"""Streams folded to their states, now or at a moment: from the nearest state that is kept, and the events after it.

A state is kept in memory, in Redis or as a snapshot. All that is asked of PostgreSQL for one that is in memory is the head of
its stream, and nothing for a moment that is past.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.domain.aggregate import Stream
from app.errors import BadInput, NotFound, VersionPastEnd
from app.eventstore.cache import StateCache
from app.eventstore.database import Reads
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment
from app.eventstore.snapshots import Snapshot, Snapshots

HISTORY = "SELECT * FROM es.history($1, $2, $3, $4, $5, $6, $7)"

LONGEST_REASON = 1000


class Folded(msgspec.Struct, frozen=True):
    """A stream that exists, folded up to a moment, and where it stood when it was read."""

    stream: Stream[Any] | None
    """None before its first event."""
    events: int
    """How many events were read and folded."""
    last_version: int
    last_position: int
    last_occurred_at: datetime

    def closed(self, moment: Moment) -> bool:
        """Whether no event can come any more that is part of the stream at the moment."""
        if moment.version is not None:
            return True
        if moment.position is not None:
            return moment.position <= self.last_position
        return moment.timestamp is not None and moment.timestamp < self.last_occurred_at


class States:
    """The states of streams. `reads` in its methods is the snapshot of the database to read from."""

    def __init__(self, folds: Folds, snapshots: Snapshots, cache: StateCache) -> None:
        self._folds = folds
        self.snapshots = snapshots
        self.cache = cache

    async def load(self, ids: Collection[UUID], reads: Reads) -> dict[UUID, Stream[Any]]:
        """The streams as they are now, those that exist, of whatever types. Raises UnreadableEvent."""
        held = await self.cache.find([(id, None) for id in ids])
        folded = await self._read(ids, None, reads, held={id: stream for (id, _), stream in held.items()})
        streams = {id: each.stream for id, each in folded.items() if each.stream}
        for id, stream in streams.items():
            self.snapshots.offer(stream, stream.version - folded[id].events)
        await self.cache.keep({(id, None): streams[id] for id, each in folded.items() if each.stream and each.events})
        return streams

    def remember(self, stream: Stream[Any], since: int) -> None:
        """The stream as an append left it, which found it at version `since`."""
        self.cache.remember((stream.id, None), stream)
        self.snapshots.offer(stream, since)

    async def at(self, id: UUID, moment: Moment, reads: Reads) -> Stream[Any] | None:
        """The stream as it was; None before its first event. Raises VersionPastEnd and UnreadableEvent."""
        found = await self.cache.find([(id, moment)])
        if found:
            return found[id, moment]
        folded = await self._at(id, moment, reads, held=self.cache.newest(id))
        if folded is None or folded.stream is None:
            return None
        if folded.closed(moment):
            await self.cache.keep({(id, moment): folded.stream})
        elif folded.events:
            await self.cache.keep({(id, None): folded.stream})
        return folded.stream

    async def replay(self, id: UUID, moment: Moment | None, reads: Reads, *, use_snapshot: bool = True) -> Folded | None:
        """The stream as it was, or is, folded from a snapshot or from all its events; None when it does not exist.

        Raises VersionPastEnd and UnreadableEvent.
        """
        return await self._at(id, moment, reads, use_snapshots=use_snapshot)

    async def _at(self, id: UUID, moment: Moment | None, reads: Reads, **how: Any) -> Folded | None:
        folded = (await self._read([id], moment, reads, **how)).get(id)
        if folded and moment and moment.version is not None and moment.version > folded.last_version:
            raise VersionPastEnd(id, moment.version, folded.last_version)
        return folded

    async def take_snapshot(self, id: UUID, reason: str, reads: Reads) -> Snapshot:
        """Keep the stream as all its events make it now. Raises BadInput, NotFound and UnreadableEvent."""
        if not reason.strip() or len(reason) > LONGEST_REASON:
            raise BadInput("reason", f"says in 1 to {LONGEST_REASON:,} characters why the snapshot is made")
        folded = await self.replay(id, None, reads, use_snapshot=False)
        if folded is None or folded.stream is None:
            raise NotFound("stream", id)
        await self.snapshots.keep([folded.stream], reason.strip())
        return (await self.snapshots.of_stream(id, reads))[0]

    async def _read(
        self,
        ids: Collection[UUID],
        moment: Moment | None,
        reads: Reads,
        *,
        held: Mapping[UUID, Stream[Any]] = {},
        use_snapshots: bool = True,
    ) -> dict[UUID, Folded]:
        folds = list(self._folds.fingerprints.values()) if use_snapshots else []
        until = (moment.version, moment.position, moment.timestamp) if moment else (None, None, None)
        bases = [(each.version, each.position) if (each := held.get(id)) else (None, None) for id in ids]
        rows = await reads.fetch(HISTORY, ids, *map(list, zip(*bases, strict=True)), folds, *until)
        folded = {head["stream_id"]: self._folded(head, held, events) for head, events in _by_stream(rows)}
        broken = [id for id, each in folded.items() if each is None]
        if broken:
            folded |= await self._read(broken, moment, reads, use_snapshots=False)
        return {id: each for id, each in folded.items() if each is not None}

    def _folded(self, head: asyncpg.Record, held: Mapping[UUID, Stream[Any]], events: Sequence[asyncpg.Record]) -> Folded | None:
        """None when the snapshot to begin with cannot be used."""
        id, stream_type = head["stream_id"], head["stream_type"]
        base = held[id] if head["base"] and head["snapshot"] is None else None
        if head["snapshot"] is not None:
            base = self._folds.unpack(stream_type, id, head["snapshot"])
            if base is None or base.version != head["base"]:
                return None
        stream = base
        if events:
            stream = Stream(
                id=id,
                type=stream_type,
                tenant_id=head["tenant_id"],
                version=events[-1]["version"],
                position=events[-1]["position"],
                state=self._folds.fold(stream_type, id, base.state if base else None, events),
            )
        return Folded(stream, len(events), head["last_version"], head["last_position"], head["last_occurred_at"])


def _by_stream(rows: Sequence[asyncpg.Record]) -> Iterator[tuple[asyncpg.Record, Sequence[asyncpg.Record]]]:
    """Each stream's head, and the rows of its events."""
    heads = [place for place, row in enumerate(rows) if row["version"] is None]
    for head, end in zip(heads, [*heads, len(rows)][1:], strict=True):
        yield rows[head], rows[head + 1 : end]
