"""One share of a rebuild: its events, read ahead page by page, folded in memory and written by COPY.

Rows of an aggregate are folded stream by stream, for which PostgreSQL sorts the share's events: each row is fetched into the
processor's caches once, where in the order of the log every event meets another row. What many of them come to is written
while the next are folded and those after them are read. Other rows are folded in pages.

Each final row is written once. Only when the memory given does not hold all rows, and at the end of each long stretch of
the log, are they written before; from then on a row that is not in memory is looked up, and one that changes is updated.
What is written and how far the share has come commit together, so that a killed rebuild goes on from there.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from app.domain.aggregate import Stream
from app.errors import RebuildStopped
from app.eventstore.ahead import ahead
from app.eventstore.database import Connection
from app.eventstore.garbage import without_collector
from app.eventstore.recorded import Excerpt, RecordedEvent
from app.eventstore.store import EventStore
from projections.applying import REFUSED, one_by_one, together
from projections.behind import Behind, behind
from projections.copying import CopyFold, fold_excerpts, fold_for_copy, folds_excerpts
from projections.folding import Fold, touched
from projections.parking import COUNT, newly_closed, park, parked_among
from projections.projection import Key
from projections.rebuilds import Build
from projections.writing import PIECE, Writing

log = logging.getLogger(__name__)

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)

PAGE = 1_000
"""Positions read at a time, times the number of shares: small enough for the next page to arrive while one is folded."""

STRETCH = 2_000_000
"""Positions after which a share writes what it has, so that this is the most that a crash can cost."""

TOLD_EVERY = 0.5
"""Seconds between two messages of how far a share is."""

AT_ONCE = 5_000
"""Rows written at a time."""

LEAST = 20_000
"""Rows and versions that are copied at a time where they are folded stream by stream: each COPY into a new table lets its file
grow by many pages at once, and leaves some of them empty for good. Of 2,500 rows these were a sixth of all pages.
"""

EVENTS_TAKE = 4
"""The part of the memory given, one in so many, that events may take which are gathered to be folded row by row."""

BYTES = 500
"""About what an event takes."""

FULL = 0.8
"""Of the memory given, how much the rows may fill: writing them takes some, too."""

ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('share ' || $2 || ' of a rebuild of ' || $1, 0))"
REACHED = """
    SELECT share.reached, built.parked FROM es.rebuild_shares share
    JOIN es.rebuilds rebuild USING (projection, generation) JOIN es.generations built USING (projection, generation)
    WHERE projection = $1 AND generation = $2 AND share = $3 AND rebuild.ended_at IS NULL
"""
REACH = """
    UPDATE es.rebuild_shares SET reached = $4, reading = $4 WHERE projection = $1 AND generation = $2 AND share = $3
"""
TELL = """
    WITH told AS (
        UPDATE es.rebuild_shares share SET reading = $4 FROM unnest($1::text[], $2::int[]) build (projection, generation)
        WHERE (share.projection, share.generation, share.share) = (build.projection, build.generation, $3)
    )
    SELECT projection FROM es.rebuilds JOIN unnest($1::text[], $2::int[]) build (projection, generation)
    USING (projection, generation) WHERE ended_at IS NOT NULL LIMIT 1
"""


async def build_share(store: EventStore, builds: Sequence[Build], share: int, memory: int, *, stretch: int = STRETCH) -> None:
    """Build one share of some generations, which have as many shares each, in one pass over the log.

    `memory` is in bytes, for this process as a whole. An event that cannot be folded, or whose row cannot be written, is
    parked. Raises RebuildStopped when the rebuild is cancelled, and DatabaseUnavailable; what was written before stays for
    another try.
    """
    batch = max(memory - resident(), 0) // len(builds) // EVENTS_TAKE // BYTES
    parts = [part_of(store, build, share, batch) for build in builds]
    room, more = Room(memory), True
    with without_collector():
        while more:
            try:
                more = await build_stretch(store, parts, room, stretch)
                continue
            except REFUSED as error:
                log.warning("a row cannot be written; the rebuild reads on as the engine would, to park its event: %s", error)
            parts = [part_of(store, build, share, batch) for build in builds]  # what the former folded is of no use
            more = await build_stretch(store, [PartByPages(store, build, share) for build in builds], room, stretch)


async def build_stretch(store: EventStore, parts: Sequence[Part[Any]], room: Room, stretch: int) -> bool:
    """Whether there is more to do."""
    async with store.database.connection() as connection, connection.transaction():
        for part in parts:
            await part.take(connection)
        after, target = min(part.reached for part in parts), max(part.build.target for part in parts)
        until = min(after + stretch, target)
        for part in parts:
            part.ends = until >= part.build.target
        async with aclosing(_told(store, parts, ahead(_pages(store, parts, after, until)))) as pages, behind(connection) as its:
            async for page in pages:
                for part in parts:
                    await part.apply(its, page.found, page.reached)
                if room.is_full(sum(len(part.fold) for part in parts)):
                    for part in parts:
                        await part.write(await its.free(), forget=True)
        for part in parts:
            await part.write(connection, forget=room.is_scarce)
            await part.reach(connection)
        return until < target


class Page(msgspec.Struct, frozen=True):
    """What is read at a time."""

    found: Sequence[Any]
    """Events, or excerpts."""
    reached: int
    """The position up to which all has been read."""
    done: int
    """About as far as that is, where events are not read in the order of the log."""


async def _pages(store: EventStore, parts: Sequence[Part[Any]], after: int, until: int) -> AsyncGenerator[Page]:
    types = frozenset[str]().union(*(part.build.generation.projection.reads for part in parts))
    share, shares = parts[0].share, parts[0].build.shares
    if all(isinstance(part, PartOfExcerpts) for part in parts):
        done = after
        async with aclosing(store.excerpts(after, until, types, share, shares)) as excerpts:
            async for found in excerpts:
                done = min(done + shares * sum(len(each.events) for each in found), until)
                yield Page(found, after, done)
        yield Page((), until, until)
        return
    while after < until:
        end = min(after + PAGE * shares, until)
        yield Page(await store.read_share(after, end, types, share, shares), end, end)
        after = end


async def _told(store: EventStore, parts: Sequence[Part[Any]], pages: AsyncGenerator[Page]) -> AsyncGenerator[Page]:
    """Says from time to time how far it is, and stops when the rebuild is cancelled."""
    told = time.monotonic()
    async with aclosing(pages):
        async for page in pages:
            yield page
            if time.monotonic() > told + TOLD_EVERY:
                told = time.monotonic()
                await _tell(store, parts, page.done)


async def _tell(store: EventStore, parts: Sequence[Part[Any]], position: int) -> None:
    builds = zip(*(part.build.id for part in parts), strict=True)
    cancelled = await store.database.fetchval(TELL, *builds, parts[0].share, position)
    if cancelled is not None:
        raise RebuildStopped(f"the rebuild of {cancelled} was cancelled")


class Part(Generic[R]):
    """What one generation has of the share."""

    def __init__(self, store: EventStore, build: Build, share: int, batch: int) -> None:
        """`batch` is how many events are gathered before they are folded, as long as all rows are in memory."""
        self.build = build
        self.share = share
        self.reached = 0
        self.ends = False
        """Whether the stretch is the last one, so that no later one needs the rows in memory."""
        self._store = store
        self._batch = batch
        self._gathered = 0
        self.fold: Fold[R] = fold_for_copy(build.generation.projection, store.codec)
        self._writing: Writing[R] = Writing(build.generation)
        self._all_in_memory = True
        self._any_parked = False

    async def take(self, connection: Connection) -> None:
        """Be the only one at it until the end of the transaction, from where the last one left it."""
        await connection.execute(ALONE, self.build.id[0], str(self.share))
        left = await connection.fetchrow(REACHED, *self.build.id, self.share)
        if left is None:
            raise RebuildStopped(f"the rebuild of {self.build.id[0]} was cancelled")
        if left["reached"] != self.reached:
            self._all_in_memory = False
        await self._writing.begin(connection, alone=left["reached"] == 0 and self.build.shares == 1)
        self.reached, self._any_parked = left["reached"], left["parked"] > 0

    async def apply(self, behind: Behind, events: Sequence[Any], until: int) -> None:
        """Take in those of the RecordedEvents that are new to the generation."""
        own, connection = self._new(events), await behind.free()
        if not self._all_in_memory:
            await self._recall(connection, touched(own, self.build.generation.projection.key), own)
        self.fold.gather(own)
        self.reached = max(self.reached, until)
        self._gathered += len(own)
        if self._gathered >= self._batch or not self._all_in_memory:
            await self._fold(connection)

    def _new(self, events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        first, last, types = self.reached, self.build.target, self.build.generation.projection.reads
        return [each for each in events if first < each.position <= last and each.type in types]

    async def _fold(self, connection: Connection) -> None:
        """Fold what was gathered, and write the versions that end on the way, a piece while the next is folded."""
        await self._writing.copy_spans(connection, self._versions())
        self.fold.fold()  # what has no twin
        self._gathered = 0

    def _versions(self) -> Iterator[list[Any]]:
        more = True
        while more:
            more = self.fold.fold(PIECE)
            if self.fold.has_spans():
                yield self.fold.take_spans()

    async def _recall(self, connection: Connection, keys: Collection[Key], events: Sequence[RecordedEvent | Excerpt]) -> None:
        """Load what the events touch, the rows with these keys, and was written before."""
        fold = self.fold
        if unknown := [key for key in keys if key not in fold]:
            fold.remember(unknown, await self._writing.load(connection, unknown))
        if self._any_parked:
            fold.parking.closed |= await parked_among(connection, self.build.generation, keys, events)

    async def write(self, connection: Connection, *, forget: bool) -> None:
        """Write all that is not written; `forget` the rows then."""
        await self._fold(connection)
        await self._write_rows(connection)
        parked = self.fold.parking.take()
        await park(connection, self.build.generation, parked)
        if closed := {each.place for each in parked if each.error}:
            await connection.execute(COUNT, *self.build.id, len(closed))
        if forget:
            self.fold.forget()
            self._all_in_memory = False

    async def reach(self, connection: Connection) -> None:
        """Keep how far the share has come: last of all, as it locks the row in which others tell how far it is meanwhile."""
        await connection.execute(REACH, *self.build.id, self.share, self.reached)

    async def _write_rows(self, connection: Connection) -> None:
        while changes := self.fold.take(AT_ONCE):
            await self._writing.copy(connection, changes)


class PartOfExcerpts(Part[Stream[S]]):
    """What the generation of an aggregate's rows has of the share: folded stream by stream."""

    fold: CopyFold[S]

    async def apply(self, behind: Behind, excerpts: Sequence[Any], until: int) -> None:
        """Take in what of the Excerpts is new to the generation, and begin to write what they come to."""
        projection, first, last = self.build.generation.projection, self.reached, self.build.target
        own = [new for each in excerpts if each.events[0].type in projection.reads and (new := each.within(first, last))]
        if not self._all_in_memory:
            await self._recall(await behind.free(), [(each.stream_id,) for each in own], own)
        self.reached = max(first, until)
        if left := await fold_excerpts(self.fold, own):
            self.fold.apply(await self._store.events_of(left, await behind.free()))  # one by one, to park what cannot be
        if self.fold.unwritten >= LEAST and (changes := self.fold.take()):  # most streams are done with
            await behind.begin(lambda connection: self._writing.copy(connection, changes))
            if self.ends and own:
                self.fold.forget(but=(own[-1].stream_id,))  # of which the next page may have more


class PartByPages(Part[R]):
    """What a generation has of a stretch in which a row cannot be written: folded and written page by page, as by the engine."""

    def __init__(self, store: EventStore, build: Build, share: int) -> None:
        super().__init__(store, build, share, 0)
        self._closed = 0

    async def apply(self, behind: Behind, events: Sequence[Any], until: int) -> None:
        """Take in those of the RecordedEvents that are new to the generation, and park what cannot be folded or written."""
        connection, generation, key = await behind.free(), self.build.generation, self.build.generation.projection.key
        own = self._new(events)
        self.reached = max(self.reached, until)
        parked = await parked_among(connection, generation, touched(own, key), own)
        try:
            async with connection.transaction():
                waiting = await together(connection, self._writing, own, parked, key)
        except REFUSED:
            waiting = await one_by_one(connection, self._writing, own, parked, key)
        await park(connection, generation, waiting)
        self._closed += newly_closed(waiting, parked)

    async def write(self, connection: Connection, *, forget: bool) -> None:
        """Count the places that were closed: the rows are written."""
        await connection.execute(COUNT, *self.build.id, self._closed)
        self._closed = 0


def part_of(store: EventStore, build: Build, share: int, batch: int) -> Part[Any]:
    """That which suits the generation's projection."""
    fits = PartOfExcerpts if folds_excerpts(build.generation.projection) else Part
    return fits(store, build, share, batch)


class Room:
    """How many rows there is memory for: as many as there were when it was first used up."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._rows = 0

    @property
    def is_scarce(self) -> bool:
        """Whether the memory was ever used up."""
        return self._rows > 0

    def is_full(self, rows: int) -> bool:
        """Whether so many rows are all that there is memory for."""
        if not self._rows and resident() > FULL * self._memory:
            self._rows = max(rows, AT_ONCE)
        return 0 < self._rows <= rows


def resident() -> int:
    """Bytes of memory that this process has; where the system does not tell, the most that it ever had."""
    return _told_by_proc("VmRSS") or _most_by_getrusage()


def most_resident() -> int:
    """Bytes of memory that this process ever had."""
    return _told_by_proc("VmHWM") or _most_by_getrusage()


def _told_by_proc(name: str) -> int | None:
    with suppress(FileNotFoundError), Path("/proc/self/status").open() as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(name))
    return None


def _most_by_getrusage() -> int:
    """On Linux this is never less than what the parent had, which is kept over an exec."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
