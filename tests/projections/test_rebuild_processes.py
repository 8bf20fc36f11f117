"""Rebuilds in processes of their own, which are killed, and whose database goes away."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import ExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.embedded import running
from app.errors import PassDied
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.migrate import migrate
from app.eventstore.store import EventStore
from app.rebuilding import in_processes, in_this_process
from projections import PROJECTIONS, users
from projections.engine import ProjectionEngine
from projections.rebuild import Pass, rebuild
from projections.rebuilds import progress_of_all
from projections.shares import Room, build_stretch, part_of
from projections.users import USERS
from tests.conftest import PATIENCE, UNSAFE_BUT_FAST, server_folder
from tests.projections.histories import NOON, History, folded
from tests.projections.test_rebuild import generations_of_users

pytestmark = pytest.mark.anyio

TENANT_ID, USER_IDS = uuid4(), [uuid4() for _ in range(100)]
EVENTS = (UserCreated(username="ada", email="ada@example.org"), *(UserUpdated(full_name=f"{n}") for n in range(9)))
PLENTY = 1 << 30


@pytest.fixture
async def history(batcher: Batcher) -> History:
    """A thousand events of a hundred users."""
    history = History(batcher)
    await add_thousand_events(history)
    return history


async def add_thousand_events(history: History) -> None:
    for event in EVENTS:
        await history.add_all([(USER, id, TENANT_ID, NOON, (event,)) for id in USER_IDS])


async def check(store: EventStore) -> None:
    """The live generation holds what the plain fold does, and each version once."""
    wanted: dict[UUID, object] = dict(folded(await store.read(0, 2000)))
    assert await users.by_ids(store.database, USER_IDS) == wanted
    assert await store.database.fetchval("SELECT count(*) FROM read.users_history") == 1000
    assert await store.database.fetchval("SELECT count(*) FROM read.users_history WHERE to_position IS NULL") == 100


async def said_to_the_end(output: asyncio.StreamReader) -> list[bytes]:
    """What a process of `rebuild_process` says before it is gone."""
    lines = [await output.readline()]
    while lines[-1] != b"ended\n":
        lines.append(await output.readline())
    return lines


async def test_killed_at_ten_random_points_it_ends_right(
    url: str, store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await engine.catch_up()
    chance = random.Random(1)
    rebuilder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.rebuild_process", url, stdin=PIPE, stdout=PIPE
    )
    assert rebuilder.stdin is not None
    assert rebuilder.stdout is not None
    for _ in range(10):
        stretches = chance.randint(1, 2)
        rebuilder.stdin.write(b"%d\n" % (stretches + 1))  # of the last one it is not known how far it came
        process = int(await rebuilder.stdout.readline())
        for _ in range(stretches):
            assert await rebuilder.stdout.readline() == b"built\n"
        os.kill(process, signal.SIGKILL)
        await said_to_the_end(rebuilder.stdout)
        assert (await generations_of_users(store))[0] == (1, True, 1000), "the live generation serves on"

    rebuilder.stdin.write(b"0\n")
    assert len(await said_to_the_end(rebuilder.stdout)) > 2, "something was left to build"
    await rebuilder.communicate(b"")
    assert [live for _, live, _ in await generations_of_users(store)] == [False, True]
    await check(store)


async def test_several_processes_share_the_work(url: str, store: EventStore, engine: ProjectionEngine, history: History) -> None:
    await engine.catch_up()
    rebuilt = await rebuild(store, PROJECTIONS, in_processes(url, 2, PLENTY), shares=2)
    assert {(each.generation, each.compared, each.differences) for each in rebuilt} == {(2, True, 0)}
    await check(store)


async def test_a_killed_process_of_a_rebuild_is_named_and_its_rebuild_goes_on(
    url: str, store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await engine.catch_up()

    async def die(passes: Sequence[Pass]) -> None:
        raise PassDied(-signal.SIGKILL)

    with pytest.raises(PassDied, match="by signal 9; ask for the rebuild again"):
        await rebuild(store, [USERS], die, shares=2)
    (rebuilt,) = await rebuild(store, [USERS], in_processes(url, 2, PLENTY))
    assert rebuilt.generation == 2
    await check(store)


async def test_it_goes_on_when_the_database_is_back(
    url: str, store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await engine.catch_up()
    attempts: list[int] = []

    async def lose_the_database_once(passes: Sequence[Pass]) -> None:
        await in_this_process(store, PLENTY)(passes)
        attempts.append(len(passes))
        if len(attempts) == 1:
            await terminate_all(url)

    (rebuilt,) = await rebuild(store, [USERS], lose_the_database_once, shares=2)
    assert attempts == [2, 2]
    assert (rebuilt.generation, rebuilt.differences) == (2, 0)
    await check(store)


async def terminate_all(url: str) -> None:
    """As when the server is killed: every connection to the database ends at once."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_a_rebuild_outlives_a_killed_server() -> None:
    attempts: list[int] = []
    with server_folder() as folder, ExitStack() as up:
        url = up.enter_context(running(folder, options=UNSAFE_BUT_FAST))
        await migrate(url)
        database = await Database.open(url, timeout=PATIENCE)
        store = EventStore(database, Codec([USER, ROLE, TENANT]))
        async with Batcher(database, store.codec) as batcher:
            await add_thousand_events(History(batcher))
        engine = ProjectionEngine(store, PROJECTIONS)
        await engine.prepare()
        await engine.catch_up()

        async def kill_the_server_once(passes: Sequence[Pass]) -> None:
            attempts.append(len(passes))
            if len(attempts) == 1:
                (each,) = passes
                await build_stretch(store, [part_of(store, each.builds[0], each.share, 100)], Room(PLENTY), 400)
                os.kill(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                up.enter_context(running(folder, options=UNSAFE_BUT_FAST))
            await in_this_process(store, PLENTY)(passes)

        (rebuilt,) = await rebuild(store, [USERS], kill_the_server_once)
        assert (attempts, rebuilt.generation, rebuilt.differences) == ([1, 1], 2, 0)
        await check(store)
        await database.close()


async def test_a_full_disk_ends_it_and_leaves_nothing(store: EventStore, engine: ProjectionEngine, history: History) -> None:
    await engine.catch_up()

    async def fill_the_disk(passes: Sequence[Pass]) -> None:
        async with store.database.connection() as connection:
            await connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
            )
            await connection.execute("CREATE TRIGGER full_disk BEFORE INSERT ON read.users_g2 EXECUTE FUNCTION full_disk()")
        await in_this_process(store, PLENTY)(passes)

    with pytest.raises(asyncpg.DiskFullError, match="no space left"):
        await rebuild(store, [USERS], fill_the_disk)
    assert await generations_of_users(store) == [(1, True, 1000)]
    assert await store.database.fetchval("SELECT to_regclass('read.users_g2')") is None
    (progress,) = await progress_of_all(store.database)
    assert progress.phase == "failed"
    await check(store)
