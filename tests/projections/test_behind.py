"""What is begun on a connection is done in order, while whoever began it goes on, and never outlives its block."""

from __future__ import annotations

import asyncpg
import pytest

from app.eventstore.database import Connection, Database
from projections.behind import behind

pytestmark = pytest.mark.anyio


async def test_things_are_done_one_after_the_other_and_by_the_end_of_the_block(database: Database) -> None:
    done: list[object] = []

    async def first(connection: Connection) -> None:
        done.append(await connection.fetchval("SELECT 1 FROM pg_sleep(0.05)"))

    async def second(connection: Connection) -> None:
        done.append(await connection.fetchval("SELECT 2"))

    async with database.connection() as connection:
        async with behind(connection) as its:
            await its.begin(first)
            assert done == []
            await its.begin(second)
            assert done == [1]
        assert done == [1, 2]


async def test_what_goes_wrong_is_raised_when_the_connection_is_wanted_next(database: Database) -> None:
    async def divide(connection: Connection) -> None:
        await connection.execute("SELECT 1 / 0")

    async with database.connection() as connection:
        async with behind(connection) as its:
            await its.begin(divide)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await its.free()
            assert await (await its.free()).fetchval("SELECT 1") == 1
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with behind(connection) as its:
                await its.begin(divide)


async def test_a_block_that_fails_breaks_off_what_is_under_way(database: Database) -> None:
    async def wait(connection: Connection) -> None:
        await connection.execute("SELECT pg_sleep(600)")

    async def fail(connection: Connection) -> None:
        async with behind(connection) as its:
            await its.begin(wait)
            raise KeyError

    async with database.connection() as connection:
        with pytest.raises(KeyError):
            await fail(connection)
        assert await connection.fetchval("SELECT 1") == 1
