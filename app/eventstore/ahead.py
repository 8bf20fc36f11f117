"""Doing the next thing while the former is made use of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeVar

T = TypeVar("T")


async def ahead(items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The same items: each is worked on while its user is at the one before."""
    async with aclosing(items):
        following = asyncio.ensure_future(anext(items, None))
        try:
            while (item := await following) is not None:
                following = asyncio.ensure_future(anext(items, None))
                await asyncio.sleep(0)  # it asks PostgreSQL now: folding may not let anything else happen for a while
                yield item
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
