"""The builds of a projection: their tables, which of them is live, and the views through which queries see that one.

Generation 3 of `users` is the tables `read.users_g3` and `read.users_history_g3`; while it is live, the views `read.users`
and `read.users_history` show them. A generation's tables are never changed: a projection that declares others, or folds
otherwise, gets another generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import quoted_name

from app.eventstore.database import Connection, Reads
from app.eventstore.notify import CHANNEL
from projections.projection import READ, Projection, statistics

LOCK = 4190612387123765523
"""Advisory lock under which generations are made and switched, so that processes that start together do not collide."""

PATIENCE = "200ms"
"""How long a switch waits for readers to let go of the views; other readers queue behind it, so it gives up and comes back."""

BUILD = 86_400.0
"""Seconds that one index of a large table may take to build."""

WALL_OFF = "SELECT es.wall_off($1::text::regclass)"
FORGET = "DELETE FROM es.dead_letters WHERE projection = $1 AND generation = $2 AND skipped_at IS NULL"
"""What waits for a generation goes with it; that events were skipped, and why, stays on record."""

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy declares it


class Generation(msgspec.Struct, frozen=True):
    """One build of a projection, made by the fold that this process has."""

    projection: Projection[Any]
    number: int

    @property
    def table(self) -> sa.Table:
        """Where its rows are."""
        return self.tables[0]

    @property
    def history(self) -> sa.Table | None:
        """Where its temporal twin is."""
        return self.tables[1] if self.projection.history is not None else None

    @property
    def tables(self) -> list[sa.Table]:
        """All its tables."""
        return [renamed(table, f"{table.name}_g{self.number}") for table in self.projection.tables]


def renamed(declared: sa.Table, name: str) -> sa.Table:
    """A table as this one is declared, by another name, which its indexes bear too."""
    table = declared.to_metadata(sa.MetaData(schema=READ.schema), name=name)
    for index in table.indexes:
        index.name = quoted_name(f"{name}{str(index.name).removeprefix(declared.name)}", None)
    table.info.update(declared.info)
    return table


async def prepare(connection: Connection, projection: Projection[Any], fingerprint: str) -> Generation:
    """The generation that this fingerprint's processes keep current; it is made when there is none yet.

    The first generation of a projection is live at once. A later one is made beside the live one, and goes live when it
    has caught up. An older release that starts again after the switch to a newer one counts as a change, too: it would
    otherwise serve what it cannot keep current.
    """
    async with connection.transaction():
        await lock(connection)
        builds = await all_builds(connection, projection)
        if (number := _current(builds, fingerprint)) is not None:
            return Generation(projection, number)
        generation = Generation(projection, builds[-1]["generation"] + 1 if builds else 1)
        await drop_former(connection, projection, builds)
        await create(connection, generation, fingerprint, live=not builds)
        await create_indexes(connection, generation)
        return generation


async def prepared(reads: Reads, projection: Projection[Any], fingerprint: str) -> Generation | None:
    """The generation that this fingerprint's processes keep current, if one of them has made it."""
    number = _current(await all_builds(reads, projection), fingerprint)
    return None if number is None else Generation(projection, number)


def _current(builds: Sequence[asyncpg.Record], fingerprint: str) -> int | None:
    """The live build if it has this fingerprint, else the newest after it that has."""
    live = live_build(builds)
    if live is not None and live["fingerprint"] == fingerprint:
        return int(live["generation"])
    own = (build["generation"] for build in builds if build["fingerprint"] == fingerprint)
    return max((number for number in own if live is not None and number > live["generation"]), default=None)


async def lock(connection: Connection) -> None:
    """Let nobody else make or switch generations until the end of the transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)


async def all_builds(reads: Connection | Reads, projection: Projection[Any]) -> list[asyncpg.Record]:
    """Every generation of the projection, in the order in which they were made."""
    return await reads.fetch(
        "SELECT generation, fingerprint, live FROM es.generations WHERE projection = $1 ORDER BY generation",
        projection.name,
    )


def live_build(builds: Sequence[asyncpg.Record]) -> asyncpg.Record | None:
    """The one that queries see."""
    return next((build for build in builds if build["live"]), None)


async def switch(connection: Connection, generation: Generation, *, back: bool = False) -> int:
    """Let queries see this generation if it holds all that the live one does, and is newer or `back` is meant.

    Returns the number of the generation that they see now. Raises LockNotAvailableError when they hold the views too long.
    """
    name, number = generation.projection.name, generation.number
    async with connection.transaction():
        await lock(connection)  # of those that switch too, one after the other, which wait for no reader
        await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        builds = await connection.fetch(
            "SELECT generation, live, checkpoint, status FROM es.generations WHERE projection = $1"
            " ORDER BY generation FOR UPDATE",
            name,
        )
        live = next(build for build in builds if build["live"])
        own = next((build for build in builds if build["generation"] == number), None)
        is_whole = own is not None and own["status"] != "rebuilding" and own["checkpoint"] >= live["checkpoint"]
        if not is_whole or (number <= live["generation"] and not back):
            return int(live["generation"])
        await connection.execute("UPDATE es.generations SET live = false WHERE projection = $1 AND live", name)
        await connection.execute("UPDATE es.generations SET live = true WHERE projection = $1 AND generation = $2", name, number)
        await _show(connection, generation)
        await connection.execute("SELECT pg_notify($1, '')", CHANNEL)  # who passed over the live one's locked row looks again
        return number


async def create(
    connection: Connection, generation: Generation, fingerprint: str, *, live: bool = False, status: str = "building"
) -> None:
    """Make its tables, without secondary indexes."""
    for table in generation.tables:
        for sql in (str(CreateTable(table).compile(dialect=DIALECT)), *statistics(table)):
            await connection.execute(sql)
        await connection.execute(WALL_OFF, table.fullname)
    await connection.execute(
        "INSERT INTO es.generations (projection, generation, fingerprint, live, checkpoint, status, updated_at)"
        " VALUES ($1, $2, $3, $4, 0, $5, now())",
        generation.projection.name,
        generation.number,
        fingerprint,
        live,
        status,
    )
    if live:
        await _show(connection, generation)


async def create_indexes(connection: Connection, generation: Generation) -> None:
    """Make those of its secondary indexes that are not there."""
    for sql in indexing(generation):
        await connection.execute(sql, timeout=BUILD)


def indexing(generation: Generation) -> list[str]:
    """What makes those of its secondary indexes that are not there, a statement each: first those that take longest."""

    def work(index: sa.Index) -> tuple[bool, bool, int, str]:
        options = index.dialect_options["postgresql"]
        return options["where"] is None, options["using"] == "gin", len(index.expressions), str(index.name)

    indexes = (index for table in reversed(generation.tables) for index in sorted(table.indexes, key=work, reverse=True))
    return [str(CreateIndex(index, if_not_exists=True).compile(dialect=DIALECT)) for index in indexes]


async def drop(connection: Connection, projection: Projection[Any], number: int) -> None:
    """Drop a generation that is not live."""
    table = projection.table.fullname
    await connection.execute(f"DROP TABLE IF EXISTS {table}_g{number}, {table}_history_g{number} CASCADE")
    await connection.execute("DELETE FROM es.generations WHERE projection = $1 AND generation = $2", projection.name, number)
    await connection.execute(FORGET, projection.name, number)


async def drop_former(connection: Connection, projection: Projection[Any], builds: Sequence[asyncpg.Record]) -> None:
    """Drop what was live before the live generation: one to go back to is enough."""
    live = live_build(builds)
    for build in builds:
        if live is not None and build["generation"] < live["generation"]:
            await drop(connection, projection, build["generation"])


async def _show(connection: Connection, generation: Generation) -> None:
    """Point the views at the generation. Its columns may be others, so the views are made anew."""
    projection = generation.projection
    for view in projection.tables:
        await connection.execute(f"DROP VIEW IF EXISTS {view.fullname}")
        # As whoever reads it, so that row-level security knows for whom.
        made = f"CREATE VIEW {view.fullname} WITH (security_invoker = true) AS SELECT * FROM {view.fullname}_g{generation.number}"
        await connection.execute(made)
        await connection.execute(WALL_OFF, view.fullname)


async def set_paused(reads: Reads, projection: Projection[Any], *, paused: bool) -> None:
    """Let nobody advance the generations that there are, or let them be advanced again; rebuilds go on."""
    before, after = (["building", "running", "failed"], "paused") if paused else (["paused"], "running")
    await reads.fetch(
        "UPDATE es.generations SET status = $3, updated_at = now() WHERE projection = $1 AND status = ANY ($2)",
        projection.name,
        before,
        after,
    )
