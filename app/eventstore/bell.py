"""Wakes everybody who waits, and nobody misses it who began to listen before."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Listen first, then look for work, then wait: what rings in between is not lost."""

    def __init__(self) -> None:
        self._next_ring = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """The next ring, from now on."""
        return self._next_ring

    def ring(self) -> None:
        """Wake all who listen."""
        rung, self._next_ring = self._next_ring, asyncio.Event()
        rung.set()


async def rung_within(ring: asyncio.Event, seconds: float) -> None:
    """Wait for the ring, but not for longer than that."""
    if not ring.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ring.wait()
