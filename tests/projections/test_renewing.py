"""Read tables of another release are built anew by a rebuild: by one process of many, while what that release folded serves."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from uuid import UUID

import pytest

from app.domain.user import USER
from app.domain.user_events import UserUpdated
from app.errors import RebuildStopped
from app.eventstore.batcher import Batcher
from app.eventstore.store import EventStore
from app.rebuilding import catch_up, in_processes, in_this_process
from projections import PROJECTIONS, users
from projections.engine import ProjectionEngine
from projections.rebuild import Pass
from projections.rebuilds import cancel, progress_of_all
from projections.renewing import renew
from projections.users import USERS
from tests.projections.histories import NOON, History, folded
from tests.projections.renewing_process import FAR
from tests.projections.test_rebuild_processes import PLENTY, TENANT_ID, USER_IDS, add_thousand_events

pytestmark = pytest.mark.anyio

NAMES = [projection.name for projection in PROJECTIONS]


@pytest.fixture
async def history(batcher: Batcher) -> History:
    """A thousand events of a hundred users."""
    history = History(batcher)
    await add_thousand_events(history)
    return history


@pytest.fixture
async def old(store: EventStore, engine: ProjectionEngine, history: History) -> ProjectionEngine:
    """The engine of a release that folded everything, and otherwise than this one does."""
    await engine.catch_up()
    await store.database.fetch("UPDATE es.generations SET fingerprint = 'of the old release'")
    return engine


async def of_new_release(store: EventStore, far: int = FAR) -> ProjectionEngine:
    engine = ProjectionEngine(store, PROJECTIONS, far=far)
    await engine.prepare()
    return engine


async def of_users(store: EventStore) -> list[tuple[int, bool, str]]:
    rows = await store.database.fetch(
        "SELECT generation, live, status FROM es.generations WHERE projection = 'users' ORDER BY generation"
    )
    return [tuple(row) for row in rows]


async def check(store: EventStore) -> None:
    """All users are as the plain fold has them."""
    wanted: dict[UUID, object] = dict(folded(await store.read(0, 2000)))
    assert await users.by_ids(store.database, USER_IDS) == wanted


async def rename(history: History) -> None:
    await history.add_all([(USER, USER_IDS[0], TENANT_ID, NOON, (UserUpdated(full_name="renamed"),))])


async def process_of_new_release(url: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.renewing_process", url, *arguments, stdout=PIPE
    )


async def said(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_one_process_builds_another_takes_over_and_the_old_release_serves_meanwhile(
    url: str, store: EventStore, old: ProjectionEngine, history: History
) -> None:
    first = await process_of_new_release(url, "stand")
    assert [await said(first), await said(first)] == ["building", "standing"]
    second = await process_of_new_release(url)
    try:
        await rename(history)
        await old.catch_up()
        await check(store)
        assert await of_users(store) == [(1, True, "running"), (2, False, "rebuilding")]
    finally:
        first.kill()
        await first.wait()
    assert [await said(second), await said(second)] == ["building", "done"]
    await second.wait()

    assert [(number, live) for number, live, _ in await of_users(store)] == [(1, False), (2, True)], "it went on with the same"
    await check(store)
    assert {each.phase for each in await progress_of_all(store.database)} == {"done"}


async def test_its_passes_run_in_a_process_of_their_own_and_the_engine_follows(
    url: str, store: EventStore, old: ProjectionEngine, history: History
) -> None:
    new = await of_new_release(store)
    assert sorted(new.unseen()) == sorted(await new.left_to_a_rebuild()) == sorted(NAMES)
    assert await new.advance("users") == 0, "the engine leaves it alone"
    await renew(store, new, in_processes(url, 1, PLENTY))
    assert await new.left_to_a_rebuild() == []
    await rename(history)
    await new.catch_up()
    assert new.unseen() == []
    await check(store)


async def test_a_short_log_is_left_to_the_engine(store: EventStore, old: ProjectionEngine, history: History) -> None:
    new = await of_new_release(store, far=2000)
    assert await new.left_to_a_rebuild() == []
    await rename(history)
    await new.catch_up()
    assert new.unseen() == []
    await check(store)


async def test_a_command_that_brings_all_up_to_date_builds_it_anew_as_well(store: EventStore, old: ProjectionEngine) -> None:
    new = ProjectionEngine(store, PROJECTIONS, far=FAR)
    await catch_up(store, new, far=FAR)
    assert new.unseen() == []
    await check(store)


async def test_what_is_cancelled_stays_as_it_was(store: EventStore, old: ProjectionEngine) -> None:
    new = await of_new_release(store)

    async def be_cancelled(passes: Sequence[Pass]) -> None:
        assert await cancel(store.database, USERS)
        raise RebuildStopped("cancelled")

    await renew(store, new, be_cancelled)
    assert "users" in new.unseen()
    assert await of_users(store) == [(1, True, "running")]
    await new.advance("users")
    assert await of_users(store) == [(1, True, "running")]


async def test_a_failure_is_told_and_it_is_tried_again(
    store: EventStore, old: ProjectionEngine, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    async def fail_once(passes: Sequence[Pass]) -> None:
        attempts.append(len(passes))
        if len(attempts) == 1:
            raise RuntimeError("no room")
        await in_this_process(store, PLENTY)(passes)

    await renew(store, await of_new_release(store), fail_once)
    assert "cannot be built anew: no room" in caplog.text
    assert len(attempts) == 2
    assert {each.phase for each in await progress_of_all(store.database)} == {"done"}
    await check(store)
