"""Work is given up when the client that asked for it is gone, down to the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

SOON = 0.05
"""Seconds within which most answers are ready: only then somebody begins to watch, for that is work too."""

T = TypeVar("T")


class Gone(Exception):
    """The client is."""


async def unless_gone(work: Awaitable[T], receive: Receive) -> T:
    """What the work comes to. Raises Gone, after ending the work, when the client of the request closes its connection."""
    loop, worker = asyncio.get_running_loop(), asyncio.current_task()
    assert worker, "a request is a task"
    watching: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        worker.cancel()

    soon = loop.call_later(SOON, lambda: watching.append(loop.create_task(watch())))
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or worker.uncancel():
            raise
        raise Gone from None
    finally:
        soon.cancel()
        for each in watching:
            each.cancel()
