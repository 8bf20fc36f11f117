"""A process that is killed with kill -9 when its append has been committed, before its caller has the answer.

Run as `python -m tests.eventstore.killed_writer URL STREAM_ID COMMAND_ID`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from uuid import UUID

from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from tests.eventstore.job import JOB, JobCreated, job_append


async def main(url: str, stream_id: str, command_id: str) -> None:
    database = await Database.open(url, timeout=600)
    append = job_append(JobCreated(name="sweep"), stream_id=UUID(stream_id), command_id=UUID(command_id), request_hash=b"one")
    async with Batcher(database, Codec([JOB]), on_append=lambda _: os.kill(os.getpid(), signal.SIGKILL)) as batcher:
        await batcher.append(append)
        print("the caller has the answer")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
