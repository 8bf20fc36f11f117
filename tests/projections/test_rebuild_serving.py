"""Rebuilds while the service goes on: queries see whole states, writes go on, and the switch is all that anybody waits for."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.eventstore.batcher import Batcher
from app.eventstore.store import EventStore
from app.rebuilding import in_this_process
from projections import users
from projections.engine import ProjectionEngine
from projections.rebuild import rebuild
from projections.users import USERS
from tests.projections.conftest import Running
from tests.projections.histories import History, fold_on

pytestmark = pytest.mark.anyio

IDS = [uuid4() for _ in range(5)]
REBUILDS = 10
LIVE = "SELECT generation, checkpoint FROM es.generations WHERE projection = 'users' AND live"


async def test_ten_rebuilds_under_writes_are_never_seen_halfway(store: EventStore, batcher: Batcher, running: Running) -> None:
    engine, over = ProjectionEngine(store, [USERS]), asyncio.Event()
    await engine.prepare()
    history, tenant_id = History(batcher), uuid4()
    for number, id in enumerate(IDS):
        created = UserCreated(username=f"user-{number}", email=f"user-{number}@example.org")
        await history.add(USER, id, created, tenant_id=tenant_id)

    async def write(id: UUID) -> None:
        number = 0
        while not over.is_set():
            number += 1
            await history.add(USER, id, UserUpdated(full_name=f"Name {number}"), tenant_id=tenant_id)

    seen: dict[int, dict[UUID, Any]] = {}
    generations: set[int] = set()

    async def look() -> None:
        async with store.database.snapshot(engine.views(["users"])) as reads:
            live = await reads.fetchrow(LIVE)
            assert live
            generations.add(live["generation"])
            seen[live["checkpoint"]] = await users.by_ids(reads, IDS)

    async def read() -> None:
        while not over.is_set():
            await look()

    async with running(engine), asyncio.TaskGroup() as tasks:
        for work in (*map(write, IDS), read(), read()):
            tasks.create_task(work)
        for _ in range(REBUILDS):
            await rebuild(store, [USERS], in_this_process(store, 1 << 30))
            await look()
        over.set()

    assert generations >= set(range(2, REBUILDS + 2))
    await check(store, seen)


async def check(store: EventStore, seen: dict[int, dict[UUID, Any]]) -> None:
    """Each state is the fold of the log up to the position at which it was seen."""
    states: dict[UUID, Any] = {}
    for recorded in await store.read(0, max(seen)):
        fold_on(states, recorded)
        if recorded.position in seen:
            assert seen.pop(recorded.position) == states
    assert seen in ({}, {0: {}})
