"""Brings a database to the newest migration, and tells how far it is from there."""

from __future__ import annotations

from functools import partial
from importlib.resources import files

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from app.eventstore.database import driver_url, outages_named, refusals_named

LOCK = 7235437218421706611


async def migrate(url: str) -> None:
    """Run the migrations that the database lacks, in one transaction.

    Processes that start at the same moment take turns, and all but the first find nothing to do.
    Raises DatabaseUnavailable.
    """
    with outages_named():
        async with _engine(url).begin() as connection:
            await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS es"))
            await connection.run_sync(_upgrade)


async def missing_migrations(url: str) -> list[str]:
    """The migrations that the database lacks, oldest first. Raises DatabaseUnavailable."""
    with outages_named(), refusals_named():
        async with _engine(url).connect() as connection:
            return await connection.run_sync(_missing)


def _engine(url: str) -> AsyncEngine:
    connect = partial(asyncpg.connect, driver_url(url))
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _missing(connection: sa.Connection) -> list[str]:
    version_table = {"version_table": "migrations", "version_table_schema": "es"}
    done = MigrationContext.configure(connection, opts=version_table).get_current_heads()
    return [script.revision for script in reversed(list(ScriptDirectory.from_config(_config()).iterate_revisions("heads", done)))]
