"""Builds anew what another release folded, while that serves: by a rebuild, which one of any number of processes does."""

from __future__ import annotations

import asyncio
import logging

from app.errors import RebuildStopped, RebuildUnderWay
from app.eventstore.store import EventStore
from projections.engine import POLL, ProjectionEngine, growing_pauses
from projections.rebuild import BuildPasses, rebuild
from projections.rebuilds import Phase, progress_of_all

log = logging.getLogger(__name__)


async def renew(store: EventStore, engine: ProjectionEngine, build: BuildPasses) -> None:
    """Do the rebuilds that the engine, once it is prepared, leaves to others; return when none is left.

    Where another process is at them this one waits, and goes on with them when that one dies. A failure is told, and it is
    tried again. What an operator cancels stays as another release folded it until a process starts again.
    """
    pauses = growing_pauses()
    while True:
        try:
            if await _renewed(store, engine, build):
                return
            await asyncio.sleep(POLL)
        except Exception as error:
            log.error("what another release folded cannot be built anew: %s", error, exc_info=error)
            await asyncio.sleep(next(pauses))


async def _renewed(store: EventStore, engine: ProjectionEngine, build: BuildPasses) -> bool:
    """Whether nothing is left to do here; it is while another process does it."""
    names = await engine.left_to_a_rebuild()
    try:
        if names:
            log.info("building anew what another release folded: %s", ", ".join(names))
            await rebuild(store, [engine.projection(name) for name in names], build)
    except RebuildUnderWay:
        newest = await progress_of_all(store.database)
        return any(each.projection in names and each.phase is Phase.CANCELLED for each in newest)
    except RebuildStopped as stopped:
        log.warning("queries see what another release folded of %s until the next start: %s", ", ".join(names), stopped.message)
    return True
