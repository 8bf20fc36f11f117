"""Seeing that a session of PostgreSQL waits, so that a test can go on exactly then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.eventstore.database import Database

PATIENCE = 120
"""Seconds after which a test that waits for a lock has failed."""

WAITING = """
    SELECT pid, locktype FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database() ORDER BY waitstart
"""


async def waiting(database: Database, sessions: int = 1) -> list[tuple[int, str]]:
    """Process id and kind of lock of the sessions that wait, as soon as there are that many."""
    async with asyncio.timeout(PATIENCE):
        found = await database.fetch(WAITING)
        while len(found) < sessions:
            found = await database.fetch(WAITING)
    return [(row["pid"], row["locktype"]) for row in found]


@asynccontextmanager
async def log_locked(database: Database) -> AsyncIterator[None]:
    """Nobody else can append within the block."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute("SELECT es.lock_log()")
        yield
