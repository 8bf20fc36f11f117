"""Brings a database to the newest migration."""

from __future__ import annotations

from functools import partial
from importlib.resources import files

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.eventstore.database import driver_url, outages_named

LOCK = 7235437218421706611


async def migrate(url: str) -> None:
    """Run the migrations that the database lacks, in one transaction.

    Processes that start at the same moment take turns, and all but the first find nothing to do.
    Raises DatabaseUnavailable.
    """
    connect = partial(asyncpg.connect, driver_url(url))
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    with outages_named():
        async with engine.begin() as connection:
            await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS es"))
            await connection.run_sync(_upgrade)


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
