"""A process that begets others: each rebuilds the users of a database, a few events at a time, and can be killed.

One is begun for each line of the input. It tells its process id, then of each stretch that it has built, and stands still after
as many as the line says. The output goes on with `ended` when it is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.wiring import AGGREGATES
from projections import rebuild, shares
from projections.rebuild import Pass
from projections.users import USERS

STRETCH = 50
BATCH = 20


async def rebuild_users(url: str, stretches: int) -> None:
    database = await Database.open(url, timeout=600)
    store = EventStore(database, Codec(AGGREGATES))
    built = 0

    async def build(passes: Sequence[Pass]) -> None:
        nonlocal built
        for each in passes:
            parts = [shares.part_of(store, build, each.share, BATCH) for build in each.builds]
            while await shares.build_stretch(store, parts, shares.Room(1 << 30), STRETCH):
                print("built", flush=True)
                built += 1
                if built == stretches:
                    signal.pause()

    await rebuild.rebuild(store, [USERS], build, shares=2)
    await database.close()


def main(url: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            print("ended", flush=True)
        else:
            print(os.getpid(), flush=True)
            asyncio.run(rebuild_users(url, int(line)))
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
