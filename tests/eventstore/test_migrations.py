"""The migrations make what the code says there is."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.errors import DatabaseUnavailable
from app.eventstore import sql
from app.eventstore.database import Database
from app.eventstore.migrate import migrate
from app.eventstore.tables import METADATA
from tests.conftest import administer, database_url

pytestmark = pytest.mark.anyio


def differences(connection: Connection) -> list[object]:
    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "schema" or name == "es"

    options = {"include_schemas": True, "include_name": is_ours, "version_table": "migrations", "version_table_schema": "es"}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))


async def test_the_tables_are_those_of_the_models(url: str) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_the_functions_are_those_of_the_files(database: Database) -> None:
    bodies = await database.fetch(
        "SELECT prosrc FROM pg_proc WHERE pronamespace = 'es'::regnamespace AND proname <> 'refuse_change'"
    )
    in_files = {re.split(r"AS (?:\$\$|')", text)[1].rpartition("$$")[0] or "SELECT 10000000::bigint" for text in sql.functions()}
    assert {row["prosrc"] for row in bodies} == in_files


async def test_processes_that_start_together_migrate_once(postgres: str) -> None:
    await administer(postgres, "CREATE DATABASE fresh")
    fresh = database_url(postgres, "fresh")
    await asyncio.gather(*(migrate(fresh) for _ in range(3)))
    database = await Database.open(fresh)
    assert await database.fetchval("SELECT count(*) FROM es.migrations") == 1
    await database.close()
    await administer(postgres, "DROP DATABASE fresh")


async def test_a_database_that_does_not_answer_is_named() -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await migrate("postgresql://postgres@127.0.0.1:1/postgres")
