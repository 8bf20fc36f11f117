"""Databases of a benchmark's own, on the server that is configured."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import urlsplit

import asyncpg

from app.eventstore.database import driver_url, outages_named
from app.eventstore.migrate import migrate


class Scratch:
    """Makes empty, migrated databases; see `scratch`."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        self._url = url
        self._connection = connection
        self._names = (f"hindsight_bench_{os.getpid()}_{number}" for number in count())
        self._template = next(self._names)
        self._made: list[str] = []

    async def prepare(self) -> None:
        """Make the database that the others are copies of."""
        await self._create(self._template, "template0")
        await migrate(self._at(self._template))

    async def fresh(self) -> str:
        """The URL of an empty, migrated database that nobody uses yet."""
        name = next(self._names)
        await self._create(name, self._template)
        return self._at(name)

    async def drop(self) -> None:
        """Drop all that was made."""
        for name in self._made:
            await self._connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _create(self, name: str, template: str) -> None:
        await self._connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._made.append(name)

    def _at(self, name: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()


@asynccontextmanager
async def scratch(url: str) -> AsyncIterator[Scratch]:
    """Yields what makes databases on the server of `url`, whose user must be allowed to; drops them in the end."""
    with outages_named():
        connection = await asyncpg.connect(driver_url(url))
    maker = Scratch(url, connection)
    try:
        await maker.prepare()
        yield maker
    finally:
        await maker.drop()
        await connection.close()
