"""Rebuilds of the users' read table, against a raw read of the same events; and how soon an append is seen."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from statistics import quantiles

import asyncpg
from uuid_utils.compat import uuid7

from app.bench.append import creation
from app.bench.limits import COLUMNS
from app.bench.report import Line, at_most, in_turns, line
from app.bench.scratch import Scratch
from app.demo import history
from app.domain.user import USER, User
from app.eventstore.bulk import append_bulk
from app.eventstore.garbage import without_collector
from app.rebuilding import in_processes, in_this_process
from app.settings import Settings
from app.terminal import progress
from app.wiring import Service, service
from projections.engine import ProjectionEngine
from projections.generations import renamed
from projections.projection import AggregateProjection
from projections.rebuild import rebuild
from projections.shares import resident
from projections.users import DERIVED, HISTORY, TABLE, USERS

ROUNDS = 3
PAGE = 5_000
"""Events in a page of the raw read."""

MEMORY = 1 << 30
LATENCY_MS = 50.0
APPENDS_A_SECOND = 500
LIMIT_IS = "a raw keyset read of the same events"
READ_PAGE = f"SELECT {', '.join(COLUMNS)} FROM es.events WHERE position > $1 ORDER BY position LIMIT {PAGE}"

CAUGHT_UP = 50_000
"""Events of which the ordinary engine catches up."""

NOW_ONLY = AggregateProjection("users_now", USER, User, renamed(TABLE, "users_now"), derived=DERIVED)
"""The users without their twin."""
BEHIND = AggregateProjection(
    "users_behind",
    USER,
    User,
    renamed(TABLE, "users_behind"),
    renamed(HISTORY, "users_behind_history"),
    derived=DERIVED,
)
"""The users, from the beginning."""


async def measure(
    settings: Settings, scratch: Scratch, events: int, *, rounds: int = ROUNDS, appends: int = 5_000
) -> AsyncGenerator[Line]:
    """A line for each kind of rebuild, one for catching up, one for the memory and one for the delay of a read."""
    async with service(settings, await scratch.fresh(), run_projections=False) as parts:
        await _filled(parts, events)
        _set_apart()
        here = in_this_process(parts.store, MEMORY)
        taken: list[int] = []
        two = in_processes(
            parts.url, 2, MEMORY + resident(), taken.append
        )  # what was made to fill the log is not part of a rebuild

        def rebuilt(projection: AggregateProjection[User], shares: int = 1) -> Callable[[], Awaitable[float]]:
            async def run() -> float:
                began = time.perf_counter()
                await rebuild(parts.store, [projection], two if shares > 1 else here, shares=shares)
                return events / (time.perf_counter() - began)

            return run

        raw, now, twin, by_two = await in_turns(
            lambda: _raw_read(parts.url, events), rebuilt(NOW_ONLY), rebuilt(USERS), rebuilt(USERS, 2), rounds=rounds
        )
        work = f"rebuild of users, {events:,} events"
        yield line(f"{work}, without twin", now, raw, LIMIT_IS, 0.5)
        yield line(f"{work}, with twin", twin, raw, LIMIT_IS, 0.25)
        yield line(f"{work}, 2 workers", by_two, twin, "1 worker", 1.4)
        yield at_most(
            f"{work}, 2 workers, MiB of the larger",
            max(taken) / (1 << 20),
            MEMORY / (1 << 20),
            "what it may take",
        )
        behind = min(events, CAUGHT_UP)
        yield line(f"catching up, {behind:,} events", [await _caught_up(parts, behind)], raw, LIMIT_IS, 0.15)
    _set_apart()
    async with service(settings, await scratch.fresh(), run_projections=True) as parts:
        await _delays(parts, APPENDS_A_SECOND)  # until connections are open and statements known
        delays = await _delays(parts, appends)
        work = f"append until seen, {APPENDS_A_SECOND} events/s, ms, 99th percentile"
        yield at_most(work, quantiles(delays, n=100)[98], LATENCY_MS, "what a client may wait")


def _set_apart() -> None:
    """As a server does: what was done before has left here what is not to be looked through again and again."""
    gc.collect()
    gc.freeze()


async def _filled(parts: Service, events: int) -> None:
    with progress("made-up events") as report:
        await append_bulk(
            parts.store,
            history(parts.store.codec, users=events // 10, events=events, seed=1),
            batch=20_000,
            on_progress=lambda seen, _: report(seen / events, f"{seen:,}"),
        )
    async with parts.database.connection() as connection:
        # Or the first to read an event marks it as visible, and autovacuum comes in the midst of what is measured.
        await connection.execute("VACUUM (ANALYZE) es.events", timeout=600)


async def _raw_read(url: str, events: int) -> float:
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(READ_PAGE)
    with without_collector():  # as a rebuild is
        began, after = time.perf_counter(), 0
        while page := await statement.fetch(after):
            after = page[-1]["position"]
        seconds = time.perf_counter() - began
    await connection.close()
    return events / seconds


async def _caught_up(parts: Service, events: int) -> float:
    """Events per second that the ordinary engine folds into an empty table, for the first part of the log."""
    engine = ProjectionEngine(parts.store, [BEHIND], batch_size=parts.settings.projection_batch)
    await engine.prepare()
    began, done = time.perf_counter(), 0
    while done < events:
        done += await engine.advance(BEHIND.name)
    return done / (time.perf_counter() - began)


async def _delays(parts: Service, appends: int) -> list[float]:
    """Milliseconds from when each append is acknowledged until a query sees it."""
    clock, tenant_id = time.perf_counter, uuid7()
    delays: list[float] = []

    async def append(at: float) -> None:
        await asyncio.sleep(at - clock())
        appended = await parts.batcher.append(creation(tenant_id, uuid7()))
        acknowledged = clock()
        await parts.engine.wait_for([USERS.name], appended.position, 60)
        delays.append((clock() - acknowledged) * 1000)

    began = clock()
    await asyncio.gather(*(append(began + number / APPENDS_A_SECOND) for number in range(appends)))
    return delays
