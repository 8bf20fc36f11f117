"""Statements reach PostgreSQL whole, and a failing connection is named for what it is."""

from __future__ import annotations

import asyncio
import socket
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from app.errors import ConfigurationError, DatabaseUnavailable
from app.eventstore.database import Database, compiled
from app.eventstore.notify import CHANNEL, Notifier
from app.eventstore.tables import STREAMS
from tests.conftest import database_url

pytestmark = pytest.mark.anyio


def test_statements_that_differ_in_values_share_one_text() -> None:
    def by_id_and_types(*types: str) -> tuple[str, list[object]]:
        text, values = compiled(
            sa.select(STREAMS.c.version).where(STREAMS.c.stream_id == uuid4(), STREAMS.c.stream_type.in_(types)).limit(3)
        )
        return text, list(values)

    one, other = by_id_and_types("a", "b"), by_id_and_types("c", "d")
    assert one[0] == other[0]
    assert (one[1][2:], other[1][2:]) == (["a", "b"], ["c", "d"])


async def test_values_arrive_by_every_way(database: Database) -> None:
    assert await database.fetchval("SELECT $1::int + $2::int", 1, 2) == 3
    assert await database.fetchval(sa.select(sa.literal("a") + sa.bindparam("b", type_=sa.Text)), {"b": "b"}) == "ab"
    row = await database.fetchrow(sa.select(sa.literal(1).label("one"), sa.literal("x").label("two")))
    assert row
    assert dict(row) == {"one": 1, "two": "x"}
    assert await database.fetchrow(sa.select(STREAMS)) is None
    assert await database.fetchval("SELECT version FROM es.streams") is None


async def test_reads_of_a_snapshot_take_turns(database: Database) -> None:
    async with database.snapshot() as snapshot:
        numbers = await asyncio.gather(*(snapshot.fetchval("SELECT $1::int", number) for number in range(20)))
        assert numbers == list(range(20))
        assert await snapshot.fetchrow("SELECT 1 WHERE false") is None
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await snapshot.fetch("CREATE TABLE forbidden ()")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await Database.open("postgresql://postgres@127.0.0.1:1/postgres")


async def test_a_database_that_does_not_exist_is_a_mistake_in_the_configuration(postgres: str) -> None:
    with pytest.raises(ConfigurationError, match='database "missing" does not exist'):
        await Database.open(database_url(postgres, "missing"))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await Database.open("mysql://root@localhost/")


async def test_connections_that_break_are_replaced(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await database.fetchval("SELECT 1") == 1


async def test_a_snapshot_whose_connection_breaks_fails_as_a_whole(database: Database) -> None:
    async def read_on() -> None:
        async with database.snapshot() as snapshot:
            session = await snapshot.fetchval("SELECT pg_backend_pid()")
            await database.fetch("SELECT pg_terminate_backend($1)", session)
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    await snapshot.fetch("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await read_on()
    assert await database.fetchval("SELECT 1") == 1


async def test_more_readers_than_connections_take_turns(url: str) -> None:
    database = await Database.open(url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=2)
    assert await asyncio.gather(*(database.fetchval("SELECT $1::int", number) for number in range(30))) == list(range(30))
    await database.close()


async def test_a_statement_that_takes_too_long_is_given_up(url: str) -> None:
    database = Database(await asyncpg.create_pool(url, min_size=1, max_size=1, command_timeout=0.2), url, timeout=60)
    with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
        await database.fetch("SELECT pg_sleep(600)")
    await database.close()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _, port = silent.getsockname()
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            await Database.open(f"postgresql://postgres@127.0.0.1:{port}/postgres", timeout=0.2)


async def test_one_notification_speaks_for_all_that_wait(database: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await database.connect()
    await listener.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: heard.put_nowait(payload))
    async with Notifier(database) as notifier:
        for position in range(1, 100):
            notifier.notify(position)
        assert await heard.get() == "99"
        notifier.notify(100)
        assert await heard.get() == "100"
    await listener.close()
