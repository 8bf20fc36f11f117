"""Work is given up when the client that asked for it is gone, or the deadline has passed, down to the database."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

SOON = 0.05
"""Seconds within which most requests are answered: only then somebody begins to watch, for that is work too."""


class Gone(Exception):
    """The client is."""


class Watch:
    """A block of work for one request, which is ended when the client closes its connection or so many seconds have passed.

    It raises Gone then, or TimeoutError.
    """

    def __init__(self, receive: Receive, deadline: float) -> None:
        self._receive = receive
        self._deadline = deadline
        self._received = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._reason: Exception | None = None

    def all_received(self) -> None:
        """The block has read the request; whatever the client still sends, it can only leave."""
        self._received.set()

    def __enter__(self) -> Watch:
        loop, worker = asyncio.get_running_loop(), asyncio.current_task()
        assert worker, "a request is a task"
        self._worker = worker
        self._ends = loop.time() + self._deadline
        self._soon = loop.call_later(SOON, self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._soon.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._reason and kind is asyncio.CancelledError and not self._worker.uncancel():
            raise self._reason from None

    def _begin(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout_at(self._ends):
                await self._received.wait()
                while (await self._receive())["type"] != "http.disconnect":
                    pass
            self._reason = Gone()
        except TimeoutError as error:
            self._reason = error
        self._worker.cancel()
