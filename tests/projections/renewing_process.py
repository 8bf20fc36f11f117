"""A process of a newer release: it builds the projections anew that another one folded, a stretch at a time.

It says when it begins with a pass and when all is done; told to `stand`, it stands still after the first stretch.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.wiring import AGGREGATES
from projections import PROJECTIONS
from projections.engine import ProjectionEngine
from projections.rebuild import Pass
from projections.renewing import renew
from projections.shares import Room, build_stretch, part_of

FAR = 100


async def main(url: str, *, stand: bool) -> None:
    database = await Database.open(url, timeout=600)
    store = EventStore(database, Codec(AGGREGATES))
    engine = ProjectionEngine(store, PROJECTIONS, far=FAR)
    await engine.prepare()

    async def build(passes: Sequence[Pass]) -> None:
        print("building", flush=True)
        for each in passes:
            parts = [part_of(store, build, each.share, 100) for build in each.builds]
            while await build_stretch(store, parts, Room(1 << 30), 400):
                if stand:
                    print("standing", flush=True)
                    signal.pause()

    await renew(store, engine, build)
    print("done", flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], stand=sys.argv[2:] == ["stand"]))
