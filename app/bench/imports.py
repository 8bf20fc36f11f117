"""A bulk append, and an import with all that belongs to it, against one COPY of the same rows."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.bench import limits
from app.bench.report import Line, in_turns, line
from app.bench.scratch import Scratch
from app.demo import history
from app.eventstore.bulk import append_bulk
from app.rebuilding import catch_up
from app.settings import Settings
from app.transfer import Files, export_lines, import_files
from app.wiring import Service, service

USERS, EVENTS = 3_000, 30_000
ROUNDS = 3
BULK_WANTED = 0.3
IMPORT_WANTED = 8_000 / 140_000
LIMIT_IS = "one COPY of the same rows"


async def measure(settings: Settings, scratch: Scratch, file: Path | None) -> AsyncGenerator[Line]:
    """A line for the bulk append of the events in `file`, made-up ones without, and one for the import of the file."""
    with TemporaryDirectory() as folder:
        path = file or await _made_up(settings, scratch, Path(folder) / "events.jsonl")
        facts = list(Files([path]))
        rows: list[limits.Row] = []

        async def bulk() -> float:
            async with _fresh(settings, scratch) as (parts, url):
                began = time.perf_counter()
                await append_bulk(parts.store, facts)
                seconds = time.perf_counter() - began
                rows[:] = await limits.log_rows(url)
                return len(rows) / seconds

        async def copy() -> float:
            return await limits.copy(await scratch.fresh(), rows)

        async def whole() -> float:
            async with _fresh(settings, scratch) as (parts, _url):
                began = time.perf_counter()
                await import_files(parts.store, Files([path]))
                await catch_up(parts.store, parts.engine)
                return len(rows) / (time.perf_counter() - began)

        bulk_rates, copy_rates, whole_rates = await in_turns(bulk, copy, whole, rounds=ROUNDS)
        yield line(f"bulk append, {len(rows):,} events", bulk_rates, copy_rates, LIMIT_IS, BULK_WANTED)
        yield line(f"import of {path.name}, read tables caught up", whole_rates, copy_rates, LIMIT_IS, IMPORT_WANTED)


@asynccontextmanager
async def _fresh(settings: Settings, scratch: Scratch) -> AsyncIterator[tuple[Service, str]]:
    url = await scratch.fresh()
    async with service(settings, url, run_projections=False) as parts:
        yield parts, url


async def _made_up(settings: Settings, scratch: Scratch, path: Path) -> Path:
    async with _fresh(settings, scratch) as (parts, _url):
        await append_bulk(parts.store, history(parts.store.codec, users=USERS, events=EVENTS, seed=1))
        with path.open("wb") as lines:
            async for each in export_lines(parts.store):
                lines.write(each)
    return path
