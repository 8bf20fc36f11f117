"""Tells other processes that the log has grown, after the commit and never within it.

NOTIFY inside the append's transaction would make every commit of the database queue behind one lock. A notification only
spares a listener its wait: whoever misses one finds the events by polling.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from app.errors import DatabaseUnavailable
from app.eventstore.database import Database

CHANNEL = "hindsight_events"

PAUSE = 0.01
"""Seconds between notifications: under load one speaks for all appends of that time."""

log = logging.getLogger(__name__)


class Notifier:
    """Sends the newest position on `CHANNEL`, at once when idle. An async context manager."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._position = 0
        self._news = asyncio.Event()

    async def __aenter__(self) -> Notifier:
        self._task = asyncio.create_task(self._send_all(), name="notifier")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def notify(self, position: int) -> None:
        """The log now reaches to `position`."""
        self._position = position
        self._news.set()

    async def _send_all(self) -> None:
        while await self._news.wait():
            self._news.clear()
            try:
                await self._database.fetchval("SELECT pg_notify($1, $2)", CHANNEL, str(self._position))
            except DatabaseUnavailable as error:
                log.warning("listeners must poll: %s", error)
            await asyncio.sleep(PAUSE)
