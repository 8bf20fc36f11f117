"""PostgreSQL's own limits, through asyncpg and without a thought: what the measured rates are held against.

The table is a log's own, in a database of its own: the same columns, indexes and partitions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.bench.report import Timed

COLUMNS = (
    "position", "event_id", "stream_id", "version", "type", "schema_version", "tenant_id", "data", "metadata",
    "occurred_at", "recorded_at",
)  # fmt: skip
INSERT = f"INSERT INTO es.events ({', '.join(COLUMNS)}) VALUES ({', '.join(f'${n}' for n in range(1, len(COLUMNS) + 1))})"
DATA = '{"username":"user-of-the-bench","email":"user-of-the-bench@example.org","fullName":"User of the Bench","phone":null}'
METADATA = '{"actor":"bench"}'


Row = tuple[Any, ...]
"""A row of the log, in the order of `COLUMNS`."""


@asynccontextmanager
async def one_row_inserts(url: str, connections: int) -> AsyncIterator[Timed]:
    """Yields what times one-row INSERT commits into the log of a database that nobody else writes to."""
    async with AsyncExitStack() as stack:
        clients = [await _connected(url, stack) for _ in range(connections)]
        tenant_id = uuid4()

        async def insert(seconds: float) -> list[float]:
            positions = count(await _room(clients[0]))
            done = [time.perf_counter()]
            end = done[0] + seconds

            async def one_after_the_other(client: asyncpg.Connection) -> None:
                while done[-1] < end:
                    now = datetime.now(UTC)
                    await client.execute(
                        INSERT, next(positions), uuid4(), uuid4(), 1, "UserCreated", 1, tenant_id, DATA, METADATA, now, now
                    )
                    done.append(time.perf_counter())

            await asyncio.gather(*map(one_after_the_other, clients))
            return done

        yield insert


async def copy(url: str, rows: Sequence[Row]) -> float:
    """Rows per second that one COPY writes into the log of a database that nobody else writes to."""
    async with AsyncExitStack() as stack:
        client = await _connected(url, stack)
        await _room(client, len(rows))
        began = time.perf_counter()
        await client.copy_records_to_table("events", schema_name="es", records=rows, columns=COLUMNS)
        return len(rows) / (time.perf_counter() - began)


async def log_rows(url: str) -> list[Row]:
    """The rows of a log, as `copy` takes them."""
    async with AsyncExitStack() as stack:
        client = await _connected(url, stack)
        return list(map(tuple, await client.fetch(f"SELECT {', '.join(COLUMNS)} FROM es.events ORDER BY position")))


@asynccontextmanager
async def point_selects(url: str, query: str, ids: Sequence[UUID]) -> AsyncIterator[Timed]:
    """Yields what times a query with one id, one after the other on one connection."""
    async with AsyncExitStack() as stack:
        client = await _connected(url, stack)
        statement = await client.prepare(query)

        async def select(seconds: float) -> list[float]:
            done = [time.perf_counter()]
            while done[-1] < done[0] + seconds:
                await statement.fetch(ids[len(done) % len(ids)])
                done.append(time.perf_counter())
            return done

        yield select


async def _connected(url: str, stack: AsyncExitStack) -> asyncpg.Connection:
    client = await asyncpg.connect(url)
    stack.push_async_callback(client.close)
    return client


async def _room(client: asyncpg.Connection, events: int = 1) -> int:
    """The first free position, in a log that has a partition for it and those after it."""
    first: int = await client.fetchval("SELECT coalesce(max(position), 0) + 1 FROM es.events")
    await client.execute("SELECT es.cover($1)", first + events)
    return first
