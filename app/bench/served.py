"""A server to measure: `hindsight serve` in one process of its own, on a database with made-up data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import msgspec

from app.bench.load import WrongAnswer
from app.bench.scratch import Scratch
from app.demo import history
from app.eventstore.bulk import append_bulk
from app.settings import PREFIX, Settings
from app.wiring import service

EVENTS = 20_000
EVENTS_PER_USER = 10


class Served(msgspec.Struct, frozen=True):
    """A server with its data."""

    url: str
    pid: int
    database_url: str
    tenant_id: UUID
    user_ids: tuple[UUID, ...]


@asynccontextmanager
async def served(settings: Settings, scratch: Scratch, events: int) -> AsyncIterator[Served]:
    """Yields a server that answers, with so many events behind it, and stops it in the end."""
    database_url = await scratch.fresh()
    async with service(settings, database_url, run_projections=False) as parts:
        facts = list(history(parts.store.codec, users=events // EVENTS_PER_USER, events=events, seed=1))
        await append_bulk(parts.store, facts)
        await parts.engine.prepare()
        await parts.engine.catch_up()
    deleted = {fact.stream_id for fact in facts if fact.type == "UserDeleted"}
    users = tuple(fact.stream_id for fact in facts if fact.type == "UserCreated" and fact.stream_id not in deleted)
    with started(settings, database_url) as (url, pid):
        yield Served(url, pid, database_url, facts[0].tenant_id, users)


@contextmanager
def started(
    settings: Settings, database_url: str, *, authentication: str = "off", rate_limit: int = 0, program: str = "app.cli"
) -> Iterator[tuple[str, int]]:
    """Yields the address of a server on that database and the number of its process, and stops it in the end."""
    command = (sys.executable, "-m", program, "serve", "--port", "0")
    environment = os.environ | {
        f"{PREFIX}DATABASE_URL": database_url,
        f"{PREFIX}AUTHENTICATION": authentication,
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        f"{PREFIX}RATE_LIMIT": str(rate_limit),
        f"{PREFIX}DEADLINE_MS": str(settings.deadline_ms),
        f"{PREFIX}SLOW_CLIENT_MS": str(settings.slow_client_ms),
        f"{PREFIX}LOG_LEVEL": "warning",
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            if not (url := re.search(r"http://\S+/", said)):
                raise WrongAnswer(f"the server did not start: {said!r}")
            yield url[0], process.pid
        finally:
            process.terminate()
