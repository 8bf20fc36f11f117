"""A connection on which something is under way while its owner goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.eventstore.database import Connection


class Behind:
    """Does one thing after the other on a connection, the last one while whoever asked for it goes on. See `behind`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._under_way: asyncio.Task[None] | None = None

    async def begin(self, work: Callable[[Connection], Coroutine[Any, Any, None]]) -> None:
        """Begin something, once what was begun before is done. Raises what went wrong with that."""
        self._under_way = asyncio.create_task(work(await self.free()))

    async def free(self) -> Connection:
        """The connection, once nothing is under way on it. Raises what went wrong with what was."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await under_way
        return self._connection

    async def give_up(self) -> None:
        """Break off what is under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            with suppress(asyncio.CancelledError):
                await self._under_way


@asynccontextmanager
async def behind(connection: Connection) -> AsyncIterator[Behind]:
    """A connection for the block, at whose end all is done that was begun, or broken off where the block fails."""
    its = Behind(connection)
    try:
        yield its
        await its.free()
    finally:
        await its.give_up()
