"""A process that rebuilds the members of roles within so many bytes, and tells what it had, and what the rebuild came to."""

from __future__ import annotations

import asyncio
import sys

from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.rebuilding import in_this_process
from app.wiring import AGGREGATES
from projections.rebuild import rebuild
from projections.role_members import ROLE_MEMBERS
from projections.shares import most_resident


async def main(url: str, memory: int) -> None:
    database = await Database.open(url, timeout=600)
    store = EventStore(database, Codec(AGGREGATES))
    (rebuilt,) = await rebuild(store, [ROLE_MEMBERS], in_this_process(store, memory))
    print(most_resident(), rebuilt.generation, rebuilt.compared, rebuilt.differences)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
