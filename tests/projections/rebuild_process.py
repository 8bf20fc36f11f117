"""A process that rebuilds the users of a database in stretches of a few events: one for each line of its input, which it
answers, and all that are left when the input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.wiring import AGGREGATES
from projections import rebuild, shares
from projections.rebuild import Pass
from projections.users import USERS

STRETCH = 50


async def main(url: str) -> None:
    database = await Database.open(url)
    store = EventStore(database, Codec(AGGREGATES))

    async def build(passes: Sequence[Pass]) -> None:
        for each in passes:
            parts: list[shares.Part[Any]] = [shares.Part(build, each.share) for build in each.builds]
            sys.stdin.readline()
            while await shares.build_stretch(store, parts, shares.Room(1 << 30), STRETCH):
                print("built", flush=True)
                sys.stdin.readline()

    await rebuild.rebuild(store, [USERS], build, shares=2)
    print("done", flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
