"""A new generation beside the live one, which serves meanwhile: built from the whole log, compared with it, then switched.

    reading      the log, share by share, into tables without secondary indexes: see `shares`
    indexing     the indexes, and the statistics
    comparing    catch up with the live generation as the engine would; where both are at one position, compare all rows
    switching    let the views show the new generation

Nothing here changes the live generation's tables. A rebuild whose process dies goes on where it was when it is asked for again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain, groupby
from typing import Any

import asyncpg
import msgspec

from app.errors import BadInput, PassDied, RebuildStopped, RebuildUnderWay
from app.eventstore.database import Connection, outages_named
from app.eventstore.store import EventStore
from app.eventstore.tail import Tail
from projections.comparing import Differences, compare, compare_sample
from projections.copying import folds_excerpts
from projections.engine import FAR, INFRASTRUCTURE, growing_pauses
from projections.fingerprint import fingerprint
from projections.generations import BUILD, Generation, all_builds, indexing, live_build, lock, prepare, switch
from projections.leaping import Leaps
from projections.projection import Projection
from projections.rebuilds import Build, Phase, alone, begin, drop_others, end, enter, unfinished
from projections.worker import Worker

PAGE = 1_000
"""Events in a page of catching up."""

NEAR = FAR
"""How far the live generation may be behind the new one and still be brought to it for the comparison."""

STATEMENTS_AT_ONCE = 2

HOLD = "SELECT checkpoint FROM es.generations WHERE projection = $1 AND live FOR UPDATE"
CHECKPOINT = "SELECT checkpoint FROM es.generations WHERE projection = $1 AND generation = $2"
BUILT = """
    UPDATE es.generations SET checkpoint = $3, status = 'running', updated_at = now()
    WHERE projection = $1 AND generation = $2 AND status = 'rebuilding'
"""

log = logging.getLogger(__name__)


class Pass(msgspec.Struct, frozen=True):
    """One pass over the log: a share of some generations that have as many shares each."""

    builds: tuple[Build, ...]
    share: int


BuildPasses = Callable[[Sequence[Pass]], Awaitable[None]]
"""Builds all of the passes, here or in processes of their own."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild came to."""

    projection: str
    generation: int
    position: int
    """Where it went live."""
    compared: bool
    """Whether it was compared with the generation before; it is not when that one has another fold or is far behind."""
    differences: int


async def rebuild(
    store: EventStore,
    projections: Sequence[Projection[Any]],
    build: BuildPasses,
    *,
    shares: int = 1,
    allow_differences: bool = False,
) -> list[Rebuilt]:
    """Build generations of the projections from the whole log, in one pass over it, and let queries see them.

    A rebuild that was left unfinished goes on, with the shares that it had; so it does after an outage. Raises
    RebuildUnderWay when another process is at one of them, RebuildStopped when it is cancelled, RowsDiffer, and PassDied; an
    event that cannot be folded, or whose row cannot be written, is parked.
    """
    pauses = growing_pauses()
    while True:
        try:
            return await _rebuild(store, projections, build, shares, allow_differences)
        except INFRASTRUCTURE as error:
            if not passes_by(error):
                raise
            log.warning("the rebuild pauses: %s", error)
            await asyncio.sleep(next(pauses))


def passes_by(error: BaseException) -> bool:
    """Whether it is worth while to go on later: an outage ends by itself, and a full disk does not."""
    return isinstance(error, INFRASTRUCTURE) and not isinstance(error, asyncpg.DiskFullError)


async def _rebuild(
    store: EventStore, projections: Sequence[Projection[Any]], build: BuildPasses, shares: int, allow_differences: bool
) -> list[Rebuilt]:
    async with alone(store.database, [projection.name for projection in projections]) as connection:
        builds = []
        for projection in projections:
            own = fingerprint(projection, store.codec)
            if live_build(await all_builds(connection, projection)) is None:
                await prepare(connection, projection, own)
            await drop_others(connection, projection, own)
            builds.append(await begin(connection, projection, own, await store.head(), shares))
        async with _cleared_up(connection, builds):
            await build(passes(builds))
            with outages_named():
                return [await _finish(store, connection, each, allow_differences) for each in builds]


async def verify(
    store: EventStore, projection: Projection[Any], build: BuildPasses, *, shares: int = 1, sample: int | None = None
) -> Differences:
    """Fold all events again, or those of so many rows picked at random, and compare: nothing that queries see changes.

    Raises BadInput when another release's fold is live, RebuildUnderWay, and what `rebuild` raises.
    """
    shown = await _shown(store, projection)
    if shown is None:
        raise BadInput("projection", f"what is live of {projection.name} was folded by another release, which must verify it")
    if sample is not None:
        return await _verify_sample(store, shown.generation, sample)
    async with alone(store.database, [projection.name]) as connection:
        if await unfinished(store.database, projection.name):
            raise RebuildUnderWay(projection.name, "it was left unfinished")
        own = fingerprint(projection, store.codec)
        built = await begin(connection, projection, own, shown.checkpoint, shares)
        async with _cleared_up(connection, [built]):
            await build(passes([built]))
            with outages_named():
                await _built(store, connection, built)
                await enter(connection, built, Phase.COMPARING)
                differences = await _compared(store, await _worker(store, built.generation))
        await end(connection, built, Phase.VERIFIED)
    if differences is None:
        raise RebuildStopped(f"{projection.name} went back while it was verified; verify it again")
    return differences


async def _verify_sample(store: EventStore, shown: Generation, sample: int) -> Differences:
    key = ", ".join(shown.projection.key_columns)
    async with store.database.connection() as connection, connection.transaction(isolation="repeatable_read"):
        checkpoint = await connection.fetchval(CHECKPOINT, shown.projection.name, shown.number)
        keys = await connection.fetch(f"SELECT {key} FROM {shown.table.fullname} ORDER BY random() LIMIT $1", sample)
        return await compare_sample(connection, store, shown, [tuple(each) for each in keys], checkpoint)


def passes(builds: Sequence[Build]) -> list[Pass]:
    """Generations with as many shares, that take events in the same form, are read for together."""

    def kind(build: Build) -> tuple[int, bool]:
        return build.shares, folds_excerpts(build.generation.projection)

    together = [tuple(of) for _, of in groupby(sorted(builds, key=kind), key=kind)]
    return [Pass(of, share) for of in together for share in range(of[0].shares)]


@asynccontextmanager
async def _cleared_up(connection: Connection, builds: Sequence[Build]) -> AsyncIterator[None]:
    """Leave nothing of a rebuild that failed; what can be gone on with stays."""
    try:
        yield
    except (RowsDiffer, PassDied):
        raise
    except RebuildStopped as stopped:
        await _end(connection, builds, Phase.CANCELLED, stopped.message)
        raise
    except Exception as error:
        if not passes_by(error):
            await _end(connection, builds, Phase.FAILED, f"{type(error).__name__}: {error}")
        raise


async def _end(connection: Connection, builds: Sequence[Build], phase: Phase, reason: str) -> None:
    for build in builds:
        await end(connection, build, phase, reason)


class RowsDiffer(RebuildStopped):
    """Rows differ from those that are live; what was built stays, for whoever allows it."""

    def __init__(self, projection: str, differences: Differences) -> None:
        self.differences = differences
        super().__init__(
            f"{differences.count:,} rows of {projection} differ from the live ones, which stay:\n{described(differences)}\n"
            "allow the differences to switch all the same, or cancel the rebuild"
        )


async def _finish(store: EventStore, connection: Connection, build: Build, allow_differences: bool) -> Rebuilt:
    await enter(connection, build, Phase.INDEXING)
    await _built(store, connection, build, indexing(build.generation))
    await enter(connection, build, Phase.COMPARING)
    worker = await _worker(store, build.generation)
    await _approach(worker)
    differences = await _compared(store, worker)
    if differences and differences.count and not allow_differences:
        await enter(connection, build, Phase.DIFFERENT, described(differences))
        raise RowsDiffer(build.id[0], differences)
    await enter(connection, build, Phase.SWITCHING)
    await _switch(store, worker)
    await end(connection, build, Phase.DONE)
    return Rebuilt(
        projection=build.id[0],
        generation=build.id[1],
        position=worker.checkpoint,
        compared=differences is not None,
        differences=differences.count if differences else 0,
    )


async def _built(store: EventStore, connection: Connection, build: Build, indexing: Iterable[str] = ()) -> None:
    """All up to the target is there: from now on the generation can be advanced as any other."""
    analyses = (f"ANALYZE {table.fullname}" for table in reversed(build.generation.tables))
    await _at_once(store, chain(indexing, analyses))
    await connection.execute(BUILT, *build.id, build.target)


async def _at_once(store: EventStore, statements: Iterator[str]) -> None:
    """Execute all of them, as many at a time as there may be, each by one process: several at one index get in their way."""

    async def work() -> None:
        async with store.database.connection() as connection:
            for sql in statements:  # whoever is free takes the next one
                async with connection.transaction():
                    await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
                    await connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
                    await connection.execute(sql, timeout=BUILD)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(STATEMENTS_AT_ONCE):
                tasks.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _approach(worker: Worker) -> None:
    """Bring the generation to the end of the log, but for what was appended meanwhile: under writes there is always some."""
    while await worker.advance() >= PAGE:
        pass


async def _compared(store: EventStore, worker: Worker) -> Differences | None:
    """None when there is nothing to compare with: another fold is live, or one that stands still or is far behind."""
    shown = await _shown(store, worker.generation.projection)
    if shown is None or shown.checkpoint < worker.checkpoint - NEAR:
        return None
    while shown.checkpoint < worker.checkpoint and await shown.advance(worker.checkpoint):
        pass
    async with store.database.connection() as connection, connection.transaction(isolation="repeatable_read"):
        async with _level(store, worker) as (_, position):
            await connection.execute("SELECT 1")  # from now on this transaction sees both as they are at this moment
        if worker.checkpoint != position:
            return None
        return await compare(connection, store, shown.generation, worker.generation)


async def _shown(store: EventStore, projection: Projection[Any]) -> Worker | None:
    """Who advances the live generation, if that is of the same fold."""
    async with store.database.connection() as connection:
        live = live_build(await all_builds(connection, projection))
    if live is None or live["fingerprint"] != fingerprint(projection, store.codec):
        return None
    return await _worker(store, Generation(projection, live["generation"]))


async def _worker(store: EventStore, generation: Generation) -> Worker:
    worker = Worker(store.database, Tail(store, PAGE), Leaps(store, PAGE), generation)
    await worker.look()
    return worker


@asynccontextmanager
async def _level(store: EventStore, worker: Worker) -> AsyncIterator[tuple[Connection, int]]:
    """Bring the worker's generation to the live one's position, which does not move until the end of the block."""
    async with store.database.connection() as connection, connection.transaction():
        await lock(connection)
        position = await connection.fetchval(HOLD, worker.generation.projection.name)
        while worker.checkpoint < position and await worker.advance(position):
            pass
        yield connection, position


async def _switch(store: EventStore, worker: Worker, *, back: bool = False) -> None:
    """Raises RebuildStopped when the generation cannot be brought to the live one's position."""
    generation = worker.generation
    while True:
        with suppress(asyncpg.LockNotAvailableError):  # queries hold the views: they are let go on, and it is tried again
            async with _level(store, worker) as (connection, position):
                if await switch(connection, generation, back=back) == generation.number:
                    return
            raise RebuildStopped(
                f"{generation.projection.name}: generation {generation.number} does not reach position {position}"
            )


def described(differences: Differences) -> str:
    """The differing rows, a line each."""
    more = differences.count - len(differences.first)
    return "\n".join([*(each.words for each in differences.first), *([f"and {more:,} more"] if more else [])])


async def roll_back(store: EventStore, projection: Projection[Any]) -> int:
    """Let queries see the generation that was live before, once it has caught up; returns its number.

    Raises BadInput when there is none, or one that this release cannot keep current, and RebuildUnderWay.
    """
    name = projection.name
    async with alone(store.database, [name]) as connection:
        builds = await all_builds(connection, projection)
        live = live_build(builds)
        former = [build for build in builds if live is not None and build["generation"] < live["generation"]]
        if not former:
            raise BadInput("projection", f"{name} has no generation before the live one to go back to")
        if former[-1]["fingerprint"] != fingerprint(projection, store.codec):
            number = former[-1]["generation"]
            raise BadInput("projection", f"generation {number} of {name} was folded by another release, which must go back to it")
        worker = await _worker(store, Generation(projection, former[-1]["generation"]))
        await _approach(worker)
        await _switch(store, worker, back=True)
    return worker.generation.number
