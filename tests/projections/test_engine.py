"""The engine: each event counts once whoever advances, and what fails stops itself only."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from uuid import uuid4

import asyncpg
import pytest

from app.domain.role import ROLE, RoleDefined, RoleRetired
from app.domain.tenant import TENANT, TenantCreated, TenantRenamed
from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.errors import ProjectionBehind
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.notify import Notifier
from app.eventstore.store import EventStore
from projections import PROJECTIONS, event_stats, tenants, users
from projections.engine import ProjectionEngine, ProjectionStatus, growing_pauses
from tests.conftest import PATIENCE
from tests.projections.counting import Counting
from tests.projections.histories import History

pytestmark = pytest.mark.anyio

Running = Callable[[ProjectionEngine], AbstractAsyncContextManager[None]]

ACME = uuid4()
BREAK = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ 'generations|LISTEN'
"""
ALL = [projection.name for projection in PROJECTIONS]


async def prepared(store: EventStore, *projections: Counting, batch_size: int = 1000) -> ProjectionEngine:
    engine = ProjectionEngine(store, (*PROJECTIONS, *projections), batch_size=batch_size)
    await engine.prepare()
    return engine


async def status_of(engine: ProjectionEngine, name: str) -> ProjectionStatus:
    return next(status for status in await engine.status() if status.name == name)


async def until_it_is(engine: ProjectionEngine, name: str, wanted: str) -> ProjectionStatus:
    async with asyncio.timeout(PATIENCE):
        while (status := await status_of(engine, name)).status != wanted:
            pass
    return status


async def test_engines_in_several_processes_count_each_event_once(
    url: str, store: EventStore, codec: Codec, batcher: Batcher, running: Running
) -> None:
    history, tenant_id, user_ids = History(batcher), uuid4(), [uuid4() for _ in range(10)]
    other_database = await Database.open(url, timeout=PATIENCE)
    one = await prepared(store, Counting(), batch_size=7)
    other = await prepared(EventStore(other_database, codec), Counting(), batch_size=5)
    async with running(one), running(other):
        for number in range(30):
            for user_id in user_ids:
                event = UserUpdated(full_name=f"{number}") if number else UserCreated(username="a", email="b")
                await history.add(USER, user_id, event, tenant_id=tenant_id)
            one.wake()
        for engine in (one, other):
            await engine.wait_for([*ALL, "counting"], history.position, PATIENCE)
    await other_database.close()

    counted = await store.database.fetch("SELECT id, events FROM read.counting")
    assert {row["id"]: row["events"] for row in counted} == dict.fromkeys(user_ids, 30)
    assert await event_stats.by_type(store.database) == {"UserUpdated": 290, "UserCreated": 10}
    found = await users.by_ids(store.database, user_ids)
    assert {(user.version, user.state.full_name) for user in found.values()} == {(30, "29")}


async def test_a_projection_that_cannot_write_stops_alone_and_says_why(
    store: EventStore, batcher: Batcher, running: Running
) -> None:
    history, tenant_id = History(batcher), uuid4()
    engine = await prepared(store, Counting())
    async with running(engine):
        await history.add(TENANT, tenant_id, TenantCreated(name="Acme"), tenant_id=tenant_id)
        engine.wake()
        await engine.wait_for(["counting"], history.position, PATIENCE)
        await store.database.fetch("ALTER TABLE read.counting_g1 RENAME TO lost")
        await history.add(TENANT, tenant_id, TenantRenamed(name="Emca"), tenant_id=tenant_id)
        engine.wake()
        await engine.wait_for(ALL, history.position, PATIENCE)
        tenant = await tenants.by_id(store.database, tenant_id)
        assert tenant is not None
        assert tenant.state.name == "Emca"

        failed = await until_it_is(engine, "counting", "failed")
        assert (failed.checkpoint, failed.lag, failed.parked) == (1, 1, 0)
        assert failed.error is not None
        assert "counting_g1" in failed.error
        with pytest.raises(ProjectionBehind, match="projection counting is at position 1, 1 behind the wanted 2"):
            await engine.wait_for([*ALL, "counting"], history.position, 0)

        await store.database.fetch("ALTER TABLE read.lost RENAME TO counting_g1")
        mended = await until_it_is(engine, "counting", "running")
        assert (mended.checkpoint, mended.lag, mended.error) == (2, 0, None)


async def test_a_row_may_go_and_come_back(store: EventStore, batcher: Batcher) -> None:
    counting = Counting()
    counting.gone_after = "RoleRetired"
    engine = await prepared(store, counting, batch_size=2)
    history, role_id = History(batcher), uuid4()
    defined, retired = RoleDefined(name="admin", permissions=()), RoleRetired(name="admin")
    for event in (defined, defined, retired, retired, defined):
        await history.add(ROLE, role_id, event, tenant_id=ACME)
    await engine.catch_up()

    rows = await store.database.fetch("SELECT events, from_position, to_position FROM read.counting_history ORDER BY 2")
    assert [tuple(row) for row in rows] == [(1, 1, 2), (2, 2, 3), (1, 5, None)]
    assert await store.database.fetchval("SELECT events FROM read.counting") == 1


async def test_connections_that_break_are_made_again(url: str, store: EventStore, batcher: Batcher, running: Running) -> None:
    engine, history, tenant_id = await prepared(store), History(batcher), uuid4()
    operator = await Database.open(url, timeout=PATIENCE)
    async with running(engine):
        for number in range(4):
            name = TenantRenamed(name=f"{number}") if number else TenantCreated(name="Acme")
            await history.add(TENANT, tenant_id, name, tenant_id=tenant_id)
            await operator.fetch(BREAK)
            engine.wake()
            async with asyncio.timeout(PATIENCE):
                while (await status_of(ProjectionEngine(EventStore(operator, store.codec), ()), "tenants")).lag:
                    pass
    await operator.close()
    tenant = await tenants.by_id(store.database, tenant_id)
    assert tenant is not None
    assert (tenant.version, tenant.state.name) == (4, "3")


async def test_projections_without_work_look_at_the_log_by_one_statement_for_all(
    store: EventStore, batcher: Batcher, running: Running
) -> None:
    engine, history, tenant_id = ProjectionEngine(store, PROJECTIONS, poll=0.001), History(batcher), uuid4()
    await engine.prepare()
    await history.add(TENANT, tenant_id, TenantCreated(name="Acme"), tenant_id=tenant_id)
    await engine.catch_up()

    made, looked_often = Counter[bool](), asyncio.Event()

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        made["max(position)" in record.query] += 1
        if made[True] == 100:
            looked_often.set()

    async with AsyncExitStack() as held:
        for _ in range(store.database.pool.get_max_size()):
            (await held.enter_async_context(store.database.connection())).add_query_logger(note)
    async with running(engine), asyncio.timeout(PATIENCE):
        await looked_often.wait()
        assert made[False] <= 2 * len(PROJECTIONS), "each when it began, and when somebody began to listen"
        await history.add(TENANT, tenant_id, TenantRenamed(name="Emca"), tenant_id=tenant_id)
        await engine.wait_for(ALL, history.position, PATIENCE)


async def test_another_process_is_waited_for(
    url: str, store: EventStore, codec: Codec, batcher: Batcher, running: Running
) -> None:
    database = await Database.open(url, timeout=PATIENCE)
    waiting, history, tenant_id = ProjectionEngine(EventStore(database, codec), PROJECTIONS), History(batcher), uuid4()
    async with running(await prepared(store)), Notifier(database) as notifier:
        await history.add(TENANT, tenant_id, TenantCreated(name="Acme"), tenant_id=tenant_id)
        notifier.notify(history.position)
        await waiting.wait_for(ALL, history.position, PATIENCE)
        assert waiting.reached(ALL) == history.position
    await database.close()


async def test_waiting_ends_at_the_deadline(engine: ProjectionEngine, batcher: Batcher) -> None:
    history = History(batcher)
    await engine.wait_for(ALL, 0, 0)
    await history.add(ROLE, uuid4(), RoleDefined(name="admin", permissions=()), tenant_id=ACME)
    with pytest.raises(ProjectionBehind) as behind:
        await engine.wait_for(["roles"], history.position, 0.01)
    assert (behind.value.projection, behind.value.wanted, behind.value.reached) == ("roles", 1, 0)


def test_pauses_grow_and_differ() -> None:
    pauses = growing_pauses(first=1, longest=8)
    for longest in (1, 2, 4, 8, 8):
        assert longest / 2 <= next(pauses) <= longest
    assert next(growing_pauses()) != next(growing_pauses())
