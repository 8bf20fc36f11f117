"""An engine over the test's own database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from app.eventstore.store import EventStore
from projections import PROJECTIONS
from projections.engine import ProjectionEngine


@pytest.fixture
async def engine(store: EventStore) -> ProjectionEngine:
    """Prepared, and advancing only when told to."""
    engine = ProjectionEngine(store, PROJECTIONS)
    await engine.prepare()
    return engine


@pytest.fixture
async def engines(store: EventStore) -> list[ProjectionEngine]:
    """Several on one database, each of which ends its pages elsewhere."""
    engines = [ProjectionEngine(store, PROJECTIONS, batch_size=size) for size in (1, 3, 1000)]
    for engine in engines:
        await engine.prepare()
    return engines


Running = Callable[[ProjectionEngine], AbstractAsyncContextManager[None]]


@pytest.fixture
def running() -> Running:
    """The engine advances by itself within the block."""

    @asynccontextmanager
    async def running(engine: ProjectionEngine) -> AsyncIterator[None]:
        task = asyncio.create_task(engine.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return running
