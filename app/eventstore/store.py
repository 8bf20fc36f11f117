"""Reading the log: streams folded to a state, now or at a moment, and events by id, by filter and in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.domain.aggregate import Event, Stream
from app.errors import BadInput, UnreadableEvent
from app.eventstore.ahead import ahead
from app.eventstore.append import Appended
from app.eventstore.cache import StateCache
from app.eventstore.codec import Codec
from app.eventstore.database import Connection, Database, Reads
from app.eventstore.event_filter import COLUMNS, EventFilter, counting, first_events
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment, named_by
from app.eventstore.paging import Page, PageRequest, decode_cursor, encode_cursor, fingerprint
from app.eventstore.recorded import Excerpt, Happened, RecordedEvent, UndecodedEvent
from app.eventstore.snapshots import Snapshots
from app.eventstore.states import States
from app.eventstore.tables import WRITTEN
from app.eventstore.watermarks import FOREVER, within

PART_OF_STREAM = f"""
    SELECT {COLUMNS} FROM es.events WHERE stream_id = $1 AND version BETWEEN $2 AND $3
       AND position BETWEEN (SELECT first_position FROM es.streams WHERE stream_id = $1)
                        AND (SELECT last_position FROM es.streams WHERE stream_id = $1)
       AND version <= (SELECT version FROM es.streams WHERE stream_id = $1)  -- as in `event_filter`
    ORDER BY version
"""

TAIL = f"""
    SELECT {COLUMNS} FROM es.events
    WHERE position > $1 AND position <= $2 AND ($3::text[] IS NULL OR type = ANY ($3)) ORDER BY position LIMIT $4
"""

OF_SHARE = """
    position > $1 AND position <= $2 AND type = ANY ($3) AND ($5 = 1 OR (uuid_hash(stream_id) & 2147483647) % $5 = $4)
"""
SHARE = f"SELECT {COLUMNS} FROM es.events WHERE {OF_SHARE} ORDER BY position"
LONGEST_EXCERPT = 1_000
"""Events of a stream."""

EXCERPTS = f"""
    SELECT stream_id, (array_agg(tenant_id))[1], '[' || string_agg(
        concat('[', position, ',', version, ',"', type, '",', schema_version, ',', data, ',', to_json(occurred_at), ']'), ','
    ) || ']'
    FROM (
        SELECT *, version / {LONGEST_EXCERPT} AS part FROM es.events WHERE {OF_SHARE} ORDER BY stream_id, part, version
    ) event
    GROUP BY stream_id, part ORDER BY stream_id, part
"""
"""As JSON, which takes Python half the time that arrays of the columns do: most of it went into times."""
HAPPENED = msgspec.json.Decoder(list[Happened])
SORTING = "SET LOCAL work_mem = '256MB'; SET LOCAL enable_incremental_sort = on"
"""Memory in which PostgreSQL sorts a million events; of more it writes some to disk. For most of the log it may read one stream
after the other from their index instead, which gives the first at once."""

EXCERPTS_AT_ONCE = 250

PATIENCE = 600.0
"""Seconds that sorting the events of a share may take."""

MOST_CAUSES = 50
"""How far a chain of causes is followed."""


KNOWN_OF_ANY = [name for name in WRITTEN if name not in ("data", "metadata")]
"""The columns that need no decoding."""


class EventStore:
    """The read side of the log. `reads` in its methods is the snapshot to read from, the newest state without one."""

    def __init__(self, database: Database, codec: Codec, states: States | None = None) -> None:
        """Without `states` streams are folded from the snapshots that there are, and none are made."""
        self.database = database
        self.codec = codec
        self.states = states or States(folds := Folds(codec), Snapshots(database, folds), StateCache())

    def of_tenant(self, tenant_id: UUID, *, walled: bool = False) -> EventStore:
        """The same log, of which reads see that tenant's part and nothing else; see Database.of_tenant."""
        return EventStore(self.database.of_tenant(tenant_id, walled=walled), self.codec, self.states)

    async def load(self, stream_id: UUID, reads: Reads | None = None) -> Stream[Any] | None:
        """The stream as it is now. Raises UnreadableEvent."""
        return (await self.load_many([stream_id], reads)).get(stream_id)

    async def load_many(self, stream_ids: Collection[UUID], reads: Reads | None = None) -> dict[UUID, Stream[Any]]:
        """The streams as they are now, those that exist, of whatever types. Raises UnreadableEvent."""
        return await self.states.load(stream_ids, reads or self.database) if stream_ids else {}

    async def state_at(self, stream_id: UUID, moment: Moment, reads: Reads | None = None) -> Stream[Any] | None:
        """The stream as it was; None before its first event. Raises VersionPastEnd and UnreadableEvent."""
        stream = await self.states.at(stream_id, moment, reads or self.database)
        return stream if stream and self.database.tenant_id in (None, stream.tenant_id) else None

    async def between(
        self, stream_id: UUID, since: Moment | None, until: Moment | None, reads: Reads | None = None
    ) -> tuple[Stream[Any] | None, list[RecordedEvent]]:
        """The stream as it was at one moment, and its events after that up to another; from its beginning, up to now.

        Raises VersionPastEnd, UnreadableEvent, and BadInput when the first moment is after the second.
        """
        first = last = None
        if since is not None:
            with named_by("from"):
                first = await self.state_at(stream_id, since, reads)
        with named_by("to"):
            last = await (self.load(stream_id, reads) if until is None else self.state_at(stream_id, until, reads))
        after, to = first.version if first else 0, last.version if last else 0
        if after > to:
            raise BadInput("from", f"is after `to`: the one is right after version {after}, the other after version {to}")
        return first, await self.stream_events(stream_id, after + 1, to, reads) if to > after else []

    async def stream_types(self, ids: Collection[UUID], reads: Reads | None = None) -> dict[UUID, tuple[str, UUID]]:
        """Type and tenant of each of the streams that exists."""
        rows = await (reads or self.database).fetch(
            "SELECT stream_id, stream_type, tenant_id FROM es.streams WHERE stream_id = ANY ($1)", ids
        )
        return {row["stream_id"]: (row["stream_type"], row["tenant_id"]) for row in rows}

    async def head(self, reads: Reads | None = None) -> int:
        """The position of the newest event, 0 while there is none."""
        newest, values = first_events(EventFilter(tenant_id=self.database.tenant_id), descending=True, limit=1)
        sql = f"SELECT coalesce(max(position), 0) FROM ({newest}) newest"
        position: int = await (reads or self.database).fetchval(sql, *values)
        return position

    async def command(self, command_id: UUID) -> tuple[Appended, bytes | None] | None:
        """What a command came to, and the hash of its request; None when it was not carried out."""
        row = await self.database.fetchrow(
            "SELECT request_hash, stream_id, version, position, events, occurred_at, recorded_at"
            " FROM es.commands WHERE command_id = $1",
            command_id,
        )
        if row is None:
            return None
        request_hash, *_ = row
        return Appended(**dict(list(row.items())[1:]), replayed=True), request_hash

    async def stream_events(
        self,
        stream_id: UUID,
        first_version: int,
        last_version: int,
        reads: Reads | None = None,
        *,
        undecoded: bool = False,
    ) -> list[RecordedEvent]:
        """The events of a stream from one version to another, both included.

        Raises UnreadableEvent; with `undecoded` an event that cannot be decoded is an UndecodedEvent.
        """
        rows = await (reads or self.database).fetch(PART_OF_STREAM, stream_id, first_version, last_version)
        return self._recorded(rows, undecoded=undecoded)

    async def event(self, event_id: UUID, reads: Reads | None = None) -> RecordedEvent | None:
        """The event with that id. Raises UnreadableEvent."""
        found = await self.events_by_id([event_id], reads)
        return found[0] if found else None

    async def causes(self, recorded: RecordedEvent, reads: Reads | None = None) -> list[RecordedEvent]:
        """The event that led to this one, the event that led to that, and so on, at most MOST_CAUSES. Raises UnreadableEvent."""
        found: dict[UUID, RecordedEvent] = {recorded.event_id: recorded}
        while len(found) <= MOST_CAUSES:
            try:
                cause_id = UUID(recorded.metadata.get("causationId") or "")
            except ValueError:  # there is none, or it is no event but a message from elsewhere
                break
            cause = None if cause_id in found else await self.event(cause_id, reads)
            if cause is None:
                break
            recorded = found[cause_id] = cause
        return list(found.values())[1:]

    async def events_by_id(self, ids: Collection[UUID], reads: Reads | None = None) -> list[RecordedEvent]:
        """The events with those ids that exist, in the order of the log. Raises UnreadableEvent."""
        query = f"SELECT {COLUMNS} FROM es.events WHERE event_id = ANY ($1) ORDER BY position"
        return self._recorded(await (reads or self.database).fetch(query, ids))

    async def read(
        self,
        after: int,
        limit: int,
        *,
        types: Collection[str] | None = None,
        until: int | None = None,
        connection: Connection | None = None,
        undecoded: bool = False,
    ) -> list[RecordedEvent]:
        """The next events after a position, at most `limit`, at most to the position `until`; all types unless told.

        A reader that goes on after the last position it got sees each event once, in order: positions become visible
        in their order. Raises UnreadableEvent; with `undecoded` an event that cannot be decoded is an UndecodedEvent.
        """
        reads = connection or self.database
        rows = await reads.fetch(TAIL, after, FOREVER if until is None else until, types, limit)
        return self._recorded(rows, undecoded=undecoded)

    async def read_at(self, positions: Collection[int], connection: Connection) -> list[RecordedEvent]:
        """The events at these positions, in the order of the log; one that cannot be decoded is an UndecodedEvent."""
        query = f"SELECT {COLUMNS} FROM es.events WHERE position = ANY ($1) ORDER BY position"
        return self._recorded(await connection.fetch(query, positions), undecoded=True)

    async def events_of(self, excerpts: Iterable[Excerpt], connection: Connection) -> list[RecordedEvent]:
        """All that the log holds of the excerpts' events, in the order of the log."""
        return await self.read_at([position for each in excerpts for position in each.positions], connection)

    async def read_share(self, after: int, until: int, types: Collection[str], share: int, shares: int) -> list[RecordedEvent]:
        """The events of these types after one position and up to another, of the streams of one share: numbered from 0.

        Every stream is in one of the `shares`, all of which are about the same size. One that cannot be decoded is an
        UndecodedEvent.
        """
        return self._recorded(await self.database.fetch(SHARE, after, until, types, share, shares), undecoded=True)

    async def excerpts(
        self, after: int, until: int, types: Collection[str], share: int, shares: int
    ) -> AsyncGenerator[list[Excerpt]]:
        """The same events, sorted by PostgreSQL: one stream after the other, the events of each in their order.

        Some excerpts at a time, so that it takes little memory here however many there are.
        """
        read = HAPPENED.decode
        async with aclosing(ahead(self._sorted(after, until, types, share, shares))) as pages:
            async for rows in pages:
                yield [Excerpt(stream_id, tenant_id, read(happened)) for stream_id, tenant_id, happened in rows]

    async def _sorted(self, *where: Any) -> AsyncGenerator[list[asyncpg.Record]]:
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute(SORTING)
            cursor = await connection.cursor(EXCERPTS, *where)
            while rows := await cursor.fetch(EXCERPTS_AT_ONCE, timeout=PATIENCE):
                yield rows

    async def events(
        self, filter: EventFilter, request: PageRequest, *, newest_first: bool, reads: Reads | None = None
    ) -> Page[RecordedEvent]:
        """One page of the events that the filter lets through. Raises BadInput and UnreadableEvent."""
        mark = fingerprint("events", filter, newest_first)
        after, before = (
            None if cursor is None else int(*decode_cursor(argument, cursor, mark, [int]))
            for argument, cursor in (("after", request.after), ("before", request.before))
        )
        above, below = (before, after) if newest_first else (after, before)
        descending = newest_first != request.from_the_end
        found = await self._found(filter, reads)
        query, values = first_events(found, above=above, below=below, descending=descending, limit=request.size + 1)
        rows = await (reads or self.database).fetch(query, *values)
        return request.page(rows, self._record, lambda row: encode_cursor(mark, [row[filter.key]]))

    async def next_events(self, filter: EventFilter, after: int, until: int, limit: int) -> list[RecordedEvent]:
        """The next events after a position that the filter lets through, at most `limit`, at most to the position `until`.

        One that cannot be decoded is an UndecodedEvent. Raises BadInput.
        """
        query, values = first_events((await self._found(filter)).narrowed(after + 1, until), limit=limit)
        return self._recorded(await self.database.fetch(query, *values), undecoded=True)

    async def count(self, filter: EventFilter, reads: Reads | None = None) -> int:
        """How many events the filter lets through. Raises BadInput."""
        query, values = counting(await self._found(filter, reads))
        total: int = await (reads or self.database).fetchval(query, *values)
        return total

    async def _found(self, filter: EventFilter, reads: Reads | None = None) -> EventFilter:
        """The filter, saying all by which what it lets through is found in an index: of which tenant it is, and where."""
        self._check(filter)
        own = msgspec.structs.replace(filter, tenant_id=filter.tenant_id or self.database.tenant_id)
        if own.stream_id or (own.occurred_after or own.occurred_before) is None:
            return own
        return own.narrowed(*await within(reads or self.database, own.occurred_after, own.occurred_before))

    def _check(self, filter: EventFilter) -> None:
        for type in filter.types or ():
            if type not in self.codec.event_types:
                raise BadInput("types", f"there is no event type {type!r}; there are {', '.join(self.codec.event_types)}")
        for argument, moment in (("occurredAfter", filter.occurred_after), ("occurredBefore", filter.occurred_before)):
            if moment is not None and moment.utcoffset() is None:
                raise BadInput(argument, f"needs an offset, such as Z or +02:00; {moment.isoformat()} has none")

    def _recorded(self, rows: Iterable[asyncpg.Record], *, undecoded: bool = False) -> list[RecordedEvent]:
        return list(map(self._any_record if undecoded else self._record, rows))

    def _any_record(self, row: asyncpg.Record) -> RecordedEvent:
        try:
            return self._record(row)
        except UnreadableEvent as reason:
            known = {name: row[name] for name in KNOWN_OF_ANY}
            stream_type = self.codec.stream_type(row["type"]) if row["type"] in self.codec.event_types else ""
            return UndecodedEvent(**known, stream_type=stream_type, metadata_json=row["metadata"], event=Event(), reason=reason)

    def _record(self, row: asyncpg.Record) -> RecordedEvent:
        position, event_id, stream_id, version, type, schema_version, tenant_id, data, metadata, occurred_at, recorded_at = row
        return RecordedEvent(
            position=position,
            event_id=event_id,
            stream_id=stream_id,
            event=self.codec.decode(type, schema_version, data, stream_id=stream_id, position=position),
            stream_type=self.codec.stream_type(type),
            version=version,
            type=type,
            schema_version=schema_version,
            tenant_id=tenant_id,
            metadata_json=metadata,
            occurred_at=occurred_at,
            recorded_at=recorded_at,
        )
