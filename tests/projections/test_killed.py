"""A process that is killed in the middle of its work leaves nothing lost, and nothing counted twice."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID, uuid4

import pytest

from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.store import EventStore
from projections import event_stats, users
from projections.engine import ProjectionEngine
from tests.projections.histories import NOON, History, folded

pytestmark = pytest.mark.anyio

TENANT_ID, USER_IDS = uuid4(), [uuid4() for _ in range(100)]
EVENTS = (UserCreated(username="ada", email="ada@example.org"), *(UserUpdated(full_name=f"{n}") for n in range(9)))


async def worker(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.worker_process", url, "3", stdout=asyncio.subprocess.PIPE
    )


async def check(store: EventStore, engine: ProjectionEngine) -> dict[str, int]:
    """Each read model is the fold of the log up to its own checkpoint; returns the checkpoints."""
    checkpoints = {status.name: status.checkpoint for status in await engine.status()}
    assert await event_stats.total(store.database) == checkpoints["event_stats"]
    until = checkpoints["users"]
    wanted: dict[UUID, object] = dict(folded(await store.read(0, 2000, until=until)))
    assert await users.by_ids(store.database, USER_IDS) == wanted
    assert await users.by_ids(store.database, USER_IDS, Moment(position=until)) == wanted
    assert await store.database.fetchval("SELECT count(*) FROM read.users_history") == until
    return checkpoints


async def test_killed_in_the_middle(url: str, store: EventStore, batcher: Batcher, engine: ProjectionEngine) -> None:
    history = History(batcher)
    for event in EVENTS:
        await history.add_all([(USER, id, TENANT_ID, NOON, (event,)) for id in USER_IDS])

    reached = 0
    for pages in (1, 2, 2):  # each but the first of a process is many pages of the log
        process = await worker(url)
        assert process.stdout is not None
        for _ in range(pages):
            assert await process.stdout.readline() == b"advanced\n"
        process.kill()
        assert await process.wait() < 0
        checkpoints = await check(store, engine)
        assert reached < checkpoints["users"] < history.position
        reached = checkpoints["users"]

    last = await worker(url)
    assert await last.communicate() is not None
    assert last.returncode == 0
    assert set((await check(store, engine)).values()) == {history.position}
