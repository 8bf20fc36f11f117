"""The rebuilds of projections as the database knows them: begun, resumed, how far, cancelled, ended.

One process at a time is at a projection's rebuild: it holds an advisory lock for as long as it lives. A rebuild whose
process died keeps its tables and its place, and whoever asks next goes on with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec

from app.errors import DatabaseUnavailable, RebuildStopped, RebuildUnderWay
from app.eventstore.database import Connection, Database, Reads, outages_named
from projections.generations import Generation, all_builds, create, drop, live_build, lock
from projections.projection import Projection

AT_WORK = "SELECT pg_try_advisory_lock(hashtextextended('rebuild of projection ' || $1, 0))"

LET_GO = "SELECT pg_advisory_unlock(hashtextextended('rebuild of projection ' || $1, 0))"
"""In the transaction that says how it ended: whoever sees that can ask for the next one and is not refused."""

UNFINISHED = """
    SELECT rebuild.generation, rebuild.target, built.fingerprint,
        (SELECT count(*) FROM es.rebuild_shares share
         WHERE (share.projection, share.generation) = (rebuild.projection, rebuild.generation)) AS shares
    FROM es.rebuilds rebuild LEFT JOIN es.generations built USING (projection, generation)
    WHERE rebuild.projection = $1 AND rebuild.ended_at IS NULL
"""
RESUME = """
    WITH back AS (
        UPDATE es.rebuild_shares SET reading = reached WHERE projection = $1 AND generation = $2 RETURNING reached
    )
    UPDATE es.rebuilds SET resumed_at = now(), resumed_from = (SELECT sum(reached) / count(*) FROM back)
    WHERE projection = $1 AND generation = $2
"""
BEGIN = """
    WITH begun AS (
        INSERT INTO es.rebuilds (projection, generation, target, phase, started_at, resumed_at, resumed_from)
        VALUES ($1, $2, $3, $4, now(), now(), 0)
    )
    INSERT INTO es.rebuild_shares SELECT $1, $2, share, $5, 0, 0 FROM generate_series(0, $5 - 1) share
"""
PHASE = """
    UPDATE es.rebuilds SET phase = $3, reason = $4 WHERE projection = $1 AND generation = $2 AND ended_at IS NULL RETURNING true
"""
END = """
    UPDATE es.rebuilds SET phase = $3, ended_at = now(), reason = $4
    WHERE projection = $1 AND generation = $2 AND ended_at IS NULL
"""
CANCEL = """
    UPDATE es.rebuilds SET phase = $2, ended_at = now() WHERE projection = $1 AND ended_at IS NULL RETURNING generation
"""
LAST_GENERATION = """
    SELECT coalesce(max(generation), 0) FROM (
        SELECT projection, generation FROM es.rebuilds UNION ALL SELECT projection, generation FROM es.generations
    ) known WHERE projection = $1
"""

PROGRESS = """
    SELECT projection, generation, phase, target, done, started_at, ended_at, reason,
        (done - resumed_from)
            / greatest(extract(epoch FROM coalesce(ended_at, clock_timestamp()) - resumed_at), 0.001)::float8 AS rate
    FROM (SELECT DISTINCT ON (projection) * FROM es.rebuilds ORDER BY projection, generation DESC) newest,
    LATERAL (
        SELECT (sum(reading) / count(*))::bigint AS done FROM es.rebuild_shares share
        WHERE (share.projection, share.generation) = (newest.projection, newest.generation)
    ) progress
    ORDER BY projection
"""


class Phase(StrEnum):
    """What a rebuild is at, or how it ended."""

    READING = "reading"
    INDEXING = "indexing"
    COMPARING = "comparing"
    SWITCHING = "switching"
    DIFFERENT = "different"
    """It differs from the live generation, and waits for somebody to say that it may."""
    DONE = "done"
    VERIFIED = "verified"
    """Built only to be compared."""
    CANCELLED = "cancelled"
    FAILED = "failed"


class Build(msgspec.Struct, frozen=True):
    """A generation that is being built from the log up to a position, by so many shares of its keys."""

    generation: Generation
    target: int
    shares: int

    @property
    def id(self) -> tuple[str, int]:
        """Projection and number of the generation."""
        return self.generation.projection.name, self.generation.number


class RebuildProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the newest rebuild of a projection is, or how it ended."""

    projection: str
    generation: int
    phase: Phase
    target: int
    """The last position that it reads from the log before it catches up."""
    done: int
    """How many of the positions up to there are read."""
    rate: float
    """Events a second since it began, or was resumed."""
    started_at: datetime
    ended_at: datetime | None
    reason: str | None
    """Why it ended without a switch, or waits."""

    @property
    def share(self) -> float:
        """Of the log up to the target, how much is read: 0 to 1."""
        return self.done / self.target if self.target else 1.0

    @property
    def remaining_seconds(self) -> float | None:
        """Until the log is read, at the present rate; None when it is, or when nothing has been read yet."""
        return (self.target - self.done) / self.rate if self.phase is Phase.READING and self.rate > 0 else None

    @property
    def words(self) -> str:
        """In a few words."""
        left = "" if self.remaining_seconds is None else f", {self.remaining_seconds:,.0f} s left"
        return f"{self.phase}, {self.done:,} of {self.target:,} events, {self.rate:,.0f} events/s{left}"


@asynccontextmanager
async def alone(database: Database, names: Sequence[str]) -> AsyncIterator[Connection]:
    """Be the one that is at these projections' rebuilds. Raises RebuildUnderWay, with the other's progress."""
    connection = await database.connect()
    try:
        for name in names:
            if not await connection.fetchval(AT_WORK, name):
                progress = {each.projection: each for each in await progress_of_all(database)}
                raise RebuildUnderWay(name, progress[name].words if name in progress else "about to begin")
        yield connection
    finally:
        # The server ends a session some time after the client left, and whoever comes next must not meet its locks.
        with suppress(DatabaseUnavailable, asyncpg.InterfaceError), outages_named():
            await connection.execute("SELECT pg_advisory_unlock_all()")
        connection.terminate()


async def check_free(database: Database, name: str) -> None:
    """Raises RebuildUnderWay when somebody is at the projection's rebuild at this moment."""
    async with alone(database, [name]):
        return


async def begin(connection: Connection, projection: Projection[Any], fingerprint: str, target: int, shares: int) -> Build:
    """Go on with the rebuild that was left unfinished, or begin one, of so many shares if streams tell its rows apart."""
    async with connection.transaction():
        await lock(connection)
        for left in await connection.fetch(UNFINISHED, projection.name):
            if left["fingerprint"] == fingerprint:
                await connection.execute(RESUME, projection.name, left["generation"])
                return Build(Generation(projection, left["generation"]), left["target"], left["shares"])
            await drop(connection, projection, left["generation"])  # begun by another release, and given up
            await connection.execute(END, projection.name, left["generation"], Phase.CANCELLED, "another release took over")
        generation = Generation(projection, await connection.fetchval(LAST_GENERATION, projection.name) + 1)
        await create(connection, generation, fingerprint, status="rebuilding")
        build = Build(generation, target, shares if projection.by_stream else 1)
        await connection.execute(BEGIN, *build.id, target, Phase.READING, build.shares)
        return build


async def drop_others(connection: Connection, projection: Projection[Any], fingerprint: str) -> None:
    """Drop what was live before the live generation, and by the same fold what was live after it and was rolled back."""
    async with connection.transaction():
        await lock(connection)
        unfinished = {row["generation"] for row in await connection.fetch(UNFINISHED, projection.name)}
        builds = await all_builds(connection, projection)
        live = live_build(builds)
        for build in builds:
            former = live is not None and build["generation"] < live["generation"]
            if not build["live"] and build["generation"] not in unfinished and (former or build["fingerprint"] == fingerprint):
                await drop(connection, projection, build["generation"])


async def unfinished(database: Database, name: str) -> bool:
    """Whether a rebuild of the projection was left where it can go on."""
    return bool(await database.fetch(UNFINISHED, name))


async def enter(connection: Connection, build: Build, phase: Phase, reason: str | None = None) -> None:
    """Say what the rebuild is at now. One that waits for somebody is left to them. Raises RebuildStopped if it was cancelled."""
    async with connection.transaction():
        if not await connection.fetchval(PHASE, *build.id, phase, reason):
            raise RebuildStopped(f"the rebuild of {build.id[0]} was cancelled")
        if phase is Phase.DIFFERENT:
            await connection.execute(LET_GO, build.id[0])


async def end(connection: Connection, build: Build, phase: Phase, reason: str | None = None) -> None:
    """Say how the rebuild ended; unless it switched, nothing of it stays."""
    async with connection.transaction():
        await lock(connection)
        await connection.execute(END, *build.id, phase, reason)
        if phase is not Phase.DONE:
            await drop(connection, build.generation.projection, build.generation.number)
        await connection.execute(LET_GO, build.id[0])


async def cancel(database: Database, projection: Projection[Any]) -> bool:
    """End the rebuild of a projection without a switch; whether there was one.

    The process that is at it notices when it has folded what it has read, within seconds, and clears up; where there is none,
    this does.
    """
    number = await database.fetchval(CANCEL, projection.name, Phase.CANCELLED)
    if number is None:
        return False
    with suppress(RebuildUnderWay):
        async with alone(database, [projection.name]) as connection, connection.transaction():
            await lock(connection)
            await drop(connection, projection, number)
    return True


async def progress_of_all(reads: Reads) -> list[RebuildProgress]:
    """The newest rebuild of each projection that ever had one."""
    rows = await reads.fetch(PROGRESS)
    return [msgspec.convert(dict(row), RebuildProgress) for row in rows]
