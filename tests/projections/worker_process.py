"""A process that does nothing but advance the projections of a database; it says so after each page."""

from __future__ import annotations

import asyncio
import sys

from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.wiring import AGGREGATES
from projections import PROJECTIONS
from projections.engine import ProjectionEngine


async def main(url: str, batch_size: int) -> None:
    database = await Database.open(url, timeout=600)
    engine = ProjectionEngine(EventStore(database, Codec(AGGREGATES)), PROJECTIONS, batch_size=batch_size)
    await engine.prepare()
    while any([await engine.advance(projection.name) for projection in PROJECTIONS]):
        print("advanced", flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
