"""A rebuild makes the tables anew beside the live ones, compares, switches, and can be gone back on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.user import USER
from app.domain.user_events import EmailChanged, UserCreated, UserUpdated
from app.errors import BadInput, RebuildStopped, RebuildUnderWay
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.recorded import Excerpt
from app.eventstore.store import EventStore
from app.rebuilding import catch_up, in_this_process
from projections import PROJECTIONS, dead_letters, users
from projections.comparing import Differences
from projections.engine import ProjectionEngine
from projections.rebuild import BuildPasses, Pass, Rebuilt, RowsDiffer, rebuild, roll_back, verify
from projections.rebuilds import cancel, progress_of_all
from projections.retrying import Retried
from projections.users import USERS
from tests.projections.brittle import BrittleUsers
from tests.projections.histories import History, folded

pytestmark = pytest.mark.anyio

PLENTY = 1 << 30
TENANT_ID, ADA, BOB = uuid4(), uuid4(), uuid4()
CREATED = UserCreated(username="ada", email="ada@example.org")


@pytest.fixture
def build(store: EventStore) -> BuildPasses:
    return in_this_process(store, PLENTY)


@pytest.fixture
async def history(batcher: Batcher) -> History:
    """Two users with two events each."""
    history = History(batcher)
    bob = UserCreated(username="bob", email="bob@example.org")
    await history.add(USER, ADA, CREATED, UserUpdated(full_name="Ada Lovelace"), tenant_id=TENANT_ID)
    await history.add(USER, BOB, bob, EmailChanged(email="robert@example.org"), tenant_id=TENANT_ID)
    return history


async def check_users(store: EventStore, until: int) -> None:
    """What queries see is the fold of the log, now and at each position."""
    events = await store.read(0, 1000, types=USERS.reads)
    for position in range(1, until + 1):
        wanted: dict[UUID, Any] = dict(folded(each for each in events if each.position <= position))
        assert await users.by_ids(store.database, [ADA, BOB], Moment(position=position)) == wanted
    assert await users.by_ids(store.database, [ADA, BOB]) == wanted


async def test_a_rebuild_makes_the_same_and_takes_over(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    await engine.catch_up()
    rebuilt = await rebuild(store, PROJECTIONS, build)
    assert rebuilt == [
        Rebuilt(projection=each.name, generation=2, position=history.position, compared=True, differences=0)
        for each in PROJECTIONS
    ]
    await check_users(store, history.position)
    assert {status.generation for status in await engine.status()} == {2}
    assert {each.phase for each in await progress_of_all(store.database)} == {"done"}


class EventByEvent(EventStore):
    """Of which each page of excerpts has one event."""

    async def excerpts(
        self, after: int, until: int, types: Collection[str], share: int, shares: int
    ) -> AsyncGenerator[list[Excerpt]]:
        async for found in super().excerpts(after, until, types, share, shares):
            for each in found:
                for position in each.positions:
                    yield [part for part in [each.within(position - 1, position)] if part]


async def test_a_stream_may_go_on_in_the_next_page(store: EventStore, engine: ProjectionEngine, history: History) -> None:
    await engine.catch_up()
    (rebuilt,) = await rebuild(store, [USERS], in_this_process(EventByEvent(store.database, store.codec), PLENTY))
    assert (rebuilt.compared, rebuilt.differences) == (True, 0)
    await check_users(store, history.position)


@pytest.mark.parametrize("shares", [1, 2])
async def test_rows_of_one_pass_need_not_be_marked_as_visible_later(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses, shares: int
) -> None:
    await engine.catch_up()
    await rebuild(store, [USERS], build, shares=shares)
    marked = await store.database.fetchval("SELECT relallvisible FROM pg_class WHERE oid = 'read.users_g2'::regclass")
    assert marked == (1 if shares == 1 else 0)


async def test_a_table_that_nobody_made_yet_can_be_rebuilt(store: EventStore, history: History, build: BuildPasses) -> None:
    (rebuilt,) = await rebuild(store, [USERS], build)
    assert (rebuilt.generation, rebuilt.position) == (2, history.position)
    await check_users(store, history.position)


async def test_the_engine_goes_on_with_the_new_generation(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    await engine.catch_up()
    await rebuild(store, [USERS], build)
    await history.add(USER, ADA, UserUpdated(full_name="Countess of Lovelace"), tenant_id=TENANT_ID)
    await engine.catch_up()
    await check_users(store, history.position)
    assert await generations_of_users(store) == [(1, False, 5), (2, True, 5)]


async def test_tables_that_lack_most_of_the_log_are_rebuilt_and_others_catch_up(
    store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await catch_up(store, engine, far=history.position)
    await check_users(store, history.position)
    assert await generations_of_users(store) == [(1, True, 4)], "it lacked no more than that"
    await catch_up(store, engine, far=0)
    assert await generations_of_users(store) == [(1, True, 4)], "it lacked nothing"
    for number in range(6):
        await history.add(USER, ADA, UserUpdated(full_name=f"Countess {number}"), tenant_id=TENANT_ID)
    await catch_up(store, engine, far=3)
    await check_users(store, history.position)
    assert await generations_of_users(store) == [(1, False, 10), (2, True, 10)], "compared, so the former was brought up too"
    assert {status.checkpoint for status in await engine.status()} == {10}


async def generations_of_users(store: EventStore) -> list[tuple[Any, ...]]:
    rows = await store.database.fetch(
        "SELECT generation, live, checkpoint FROM es.generations WHERE projection = 'users' ORDER BY generation"
    )
    return [tuple(row) for row in rows]


async def test_a_rebuild_catches_up_without_anybody_elses_help(
    store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await engine.catch_up()

    async def build(passes: Sequence[Pass]) -> None:
        await in_this_process(store, PLENTY)(passes)
        await history.add(USER, ADA, UserUpdated(full_name="Countess of Lovelace"), tenant_id=TENANT_ID)

    (rebuilt,) = await rebuild(store, [USERS], build)
    assert (rebuilt.position, rebuilt.compared) == (history.position, True)
    await check_users(store, history.position)


async def test_a_planted_difference_stops_the_switch_and_is_named(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    await engine.catch_up()
    await store.database.fetch("UPDATE read.users_g1 SET full_name = NULL WHERE id = $1", ADA)
    with pytest.raises(RowsDiffer) as stopped:
        await rebuild(store, [USERS], build)
    (difference,) = stopped.value.differences.first
    assert (difference.table, difference.key, difference.position) == ("users_g1", (ADA,), 2)
    assert [(each.field, each.shown, each.folded) for each in difference.fields] == [("full_name", None, "Ada Lovelace")]
    assert str(ADA) in stopped.value.message
    assert await generations_of_users(store) == [(1, True, 4), (2, False, 4)]

    (rebuilt,) = await rebuild(store, [USERS], build, allow_differences=True)
    assert (rebuilt.generation, rebuilt.differences) == (2, 1)
    await check_users(store, history.position)


async def test_a_planted_difference_in_the_twin_is_found(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    await engine.catch_up()
    await store.database.fetch("DELETE FROM read.users_history_g1 WHERE id = $1 AND from_position = 3", BOB)
    differences = await verify(store, USERS, build)
    assert (differences.count, differences.first[0].key, differences.first[0].position) == (1, (BOB, 3), 3)
    assert await verify(store, USERS, build, sample=10) == differences
    assert await generations_of_users(store) == [(1, True, 4)], "verifying leaves nothing behind"


async def test_an_empty_table_is_as_its_events_make_it(store: EventStore, engine: ProjectionEngine, build: BuildPasses) -> None:
    await engine.catch_up()
    assert await verify(store, USERS, build, sample=10) == Differences(0, [])
    assert await verify(store, USERS, build) == Differences(0, [])


@pytest.mark.parametrize("sample", [None, 10])
async def test_a_row_that_waits_for_an_event_is_verified_up_to_there(
    store: EventStore, history: History, build: BuildPasses, sample: int | None
) -> None:
    brittle = BrittleUsers()
    brittle.poison = {4}
    engine = ProjectionEngine(store, [brittle])
    await engine.prepare()
    await engine.catch_up()
    assert await verify(store, brittle, build, sample=sample) == Differences(0, [])
    await store.database.fetch("UPDATE read.users_g1 SET email = 'other@example.org' WHERE id = $1", BOB)
    (difference,) = (await verify(store, brittle, build, sample=sample)).first
    assert (difference.key, difference.position) == ((BOB,), 3)


async def test_what_was_skipped_is_tried_again_and_the_row_is_then_told_to_differ(
    store: EventStore, history: History, build: BuildPasses
) -> None:
    await history.add(USER, ADA, UserUpdated(full_name="Countess of Lovelace"), tenant_id=TENANT_ID)
    brittle = BrittleUsers()
    brittle.poison = {2}
    engine = ProjectionEngine(store, [brittle])
    await engine.prepare()
    await engine.catch_up()
    assert await engine.retrying.skip("users", str(ADA), 2, by="root", reason="never was") == Retried(applied=1, parked=0)

    with pytest.raises(RowsDiffer, match="3 rows of users differ"):
        await rebuild(store, [brittle], build)
    (rebuilt,) = await rebuild(store, [brittle], build, allow_differences=True)
    assert rebuilt.differences == 3, "the row, and in its twin the span that ended and the one that began"
    (waiting,) = (await dead_letters.page(store.database)).items
    assert (waiting.generation, waiting.key, waiting.position, waiting.behind) == (rebuilt.generation, str(ADA), 2, 1)
    (skipped,) = (await dead_letters.page(store.database, skipped=True)).items
    assert (skipped.generation, skipped.position, skipped.skipped_reason) == (1, 2, "never was")


async def test_going_back_and_forth(store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses) -> None:
    await engine.catch_up()
    with pytest.raises(BadInput, match="no generation before"):
        await roll_back(store, USERS)
    await rebuild(store, [USERS], build)
    await history.add(USER, ADA, UserUpdated(full_name="Countess of Lovelace"), tenant_id=TENANT_ID)
    await engine.catch_up()
    assert await roll_back(store, USERS) == 1
    await check_users(store, history.position)
    await history.add(USER, BOB, UserUpdated(full_name="Robert"), tenant_id=TENANT_ID)
    await engine.catch_up()
    await check_users(store, history.position)
    assert await generations_of_users(store) == [(1, True, 6), (2, False, 6)]

    await rebuild(store, [USERS], build)
    assert await generations_of_users(store) == [(1, False, 6), (3, True, 6)]
    await check_users(store, history.position)


async def test_a_second_rebuild_is_refused_with_the_progress_of_the_first(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    async def build_and_ask_again(passes: Sequence[Pass]) -> None:
        with pytest.raises(RebuildUnderWay, match="reading, 0 of 4 events"):
            await rebuild(store, [USERS], build)
        await build(passes)

    (rebuilt,) = await rebuild(store, [USERS], build_and_ask_again)
    assert rebuilt.generation == 2


async def test_a_cancelled_rebuild_leaves_nothing(
    store: EventStore, engine: ProjectionEngine, history: History, build: BuildPasses
) -> None:
    async def build_and_cancel(passes: Sequence[Pass]) -> None:
        await build(passes)
        assert await cancel(store.database, USERS)

    with pytest.raises(RebuildStopped, match="cancelled"):
        await rebuild(store, [USERS], build_and_cancel)
    assert not await cancel(store.database, USERS), "there is none any more"
    await check_nothing_is_left(store)


async def check_nothing_is_left(store: EventStore) -> None:
    assert [generation for generation, _, _ in await generations_of_users(store)] == [1]
    assert await store.database.fetchval("SELECT to_regclass('read.users_g2')") is None
    assert await store.database.fetchval("SELECT to_regclass('read.users_history_g2')") is None


async def test_a_rebuild_whose_process_died_can_be_cancelled(
    store: EventStore, engine: ProjectionEngine, history: History
) -> None:
    await begun_and_left(store)
    assert await cancel(store.database, USERS)
    await check_nothing_is_left(store)


async def begun_and_left(store: EventStore) -> None:
    async def die(passes: Sequence[Pass]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rebuild(store, [USERS], die)


async def test_a_failed_rebuild_is_cleared_up(store: EventStore, engine: ProjectionEngine, history: History) -> None:
    async def run_out_of_disk(passes: Sequence[Pass]) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        await rebuild(store, [USERS], run_out_of_disk)
    await check_nothing_is_left(store)
    (progress,) = await progress_of_all(store.database)
    assert (progress.phase, progress.reason) == ("failed", "OSError: no space left on device")
