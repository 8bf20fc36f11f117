"""An event that cannot be folded stops its key only; what waited is folded later as if it had never waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.domain.tenant import TENANT, TenantCreated, TenantRenamed
from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.paging import PageRequest
from app.eventstore.store import EventStore
from projections import PROJECTIONS, dead_letters, event_stats, users
from projections.dead_letters import DeadLetter
from projections.engine import ProjectionEngine
from projections.projection import Projection
from projections.rebuild import Pass, rebuild
from projections.retrying import Retried
from projections.shares import build_share
from tests.conftest import PATIENCE
from tests.projections.brittle import Brittle, BrittleUsers, WithTenants, damage
from tests.projections.histories import History

pytestmark = pytest.mark.anyio

Running = Callable[[ProjectionEngine], AbstractAsyncContextManager[None]]

ACME, ANN, BOB = uuid4(), uuid4(), uuid4()
CREATED = UserCreated(username="a", email="a@example.org")
UPDATED = UserUpdated(full_name="A")

FAIL = """
    CREATE FUNCTION es.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'crash'; END $$;
    CREATE TRIGGER fail BEFORE UPDATE ON es.generations FOR EACH ROW EXECUTE FUNCTION es.fail();
"""


async def prepared(store: EventStore, *projections: Projection[Any], batch_size: int = 1000) -> ProjectionEngine:
    engine = ProjectionEngine(store, projections, batch_size=batch_size)
    await engine.prepare()
    return engine


async def of_two_users(batcher: Batcher, rounds: int = 3) -> History:
    """Events of Ann at the odd positions and of Bob at the even ones."""
    history = History(batcher)
    for number in range(rounds):
        for id in (ANN, BOB):
            await history.add(USER, id, UPDATED if number else CREATED, tenant_id=ACME)
    return history


async def counts(store: EventStore, name: str = "brittle") -> dict[UUID, int]:
    return {row["id"]: row["events"] for row in await store.database.fetch(f"SELECT id, events FROM read.{name}")}


async def spans(store: EventStore, id: UUID) -> list[tuple[int, int, int | None]]:
    query = "SELECT events, from_position, to_position FROM read.brittle_history WHERE id = $1 ORDER BY from_position"
    return [tuple(row) for row in await store.database.fetch(query, id)]


async def letters(store: EventStore) -> list[tuple[str, int, int, bool]]:
    """Where each event waits, its position, its attempts, and whether it has an error of its own."""
    rows = await store.database.fetch(
        "SELECT key, position, attempts, error IS NOT NULL FROM es.dead_letters WHERE skipped_at IS NULL ORDER BY position, key"
    )
    return [tuple(row) for row in rows]


async def parked(engine: ProjectionEngine) -> dict[str, int]:
    return {status.name: status.parked for status in await engine.status() if status.parked}


async def listed(store: EventStore, **given: Any) -> list[DeadLetter]:
    found = await dead_letters.page(store.database, **given)
    assert await dead_letters.count(store.database, **given) == len(found.items)
    return found.items


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
async def test_a_poison_event_parks_its_key_and_all_others_go_on(store: EventStore, batcher: Batcher, batch_size: int) -> None:
    brittle = Brittle()
    brittle.poison = {3}
    engine = await prepared(store, brittle, batch_size=batch_size)
    await of_two_users(batcher)
    await engine.catch_up()

    (status,) = await engine.status()
    assert (status.checkpoint, status.lag, status.status, status.error, status.parked) == (6, 0, "running", None, 1)
    assert await counts(store) == {ANN: 1, BOB: 3}
    assert await spans(store, ANN) == [(1, 1, None)]
    assert await letters(store) == [(str(ANN), 3, 1, True), (str(ANN), 5, 0, False)]
    (letter,) = await listed(store, projection="brittle")
    assert (letter.projection, letter.generation, letter.key, letter.position, letter.behind) == ("brittle", 1, str(ANN), 3, 1)
    assert (letter.type, letter.stream_id, letter.error) == ("UserUpdated", ANN, "ValueError: 3 is poison")
    assert letter.traceback is not None
    assert "in evolve" in letter.traceback


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
async def test_after_mending_a_retry_gives_the_plain_fold(store: EventStore, batcher: Batcher, batch_size: int) -> None:
    brittle = Brittle()
    brittle.poison = {3, 5}
    engine = await prepared(store, brittle, batch_size=batch_size)
    history = await of_two_users(batcher)
    await engine.catch_up()
    assert await engine.retrying.retry("brittle", str(ANN)) == Retried(applied=0, parked=1)
    assert await letters(store) == [(str(ANN), 3, 2, True), (str(ANN), 5, 0, False)]

    brittle.poison = {5}
    assert await engine.retrying.retry("brittle") == Retried(applied=1, parked=1)
    assert await letters(store) == [(str(ANN), 5, 1, True)]
    assert (await counts(store))[ANN] == 2
    await history.add(USER, ANN, UPDATED, tenant_id=ACME)
    await engine.catch_up()
    assert await letters(store) == [(str(ANN), 5, 1, True), (str(ANN), 7, 0, False)]

    brittle.poison = ()
    assert await engine.retrying.retry("brittle", str(ANN)) == Retried(applied=2, parked=0)
    assert await letters(store) == []
    assert await counts(store) == {ANN: 4, BOB: 3}
    assert await spans(store, ANN) == [(1, 1, 3), (2, 3, 5), (3, 5, 7), (4, 7, None)]
    await history.add(USER, ANN, UPDATED, tenant_id=ACME)
    await engine.catch_up()
    assert (await counts(store))[ANN] == 5
    assert await parked(engine) == {}


async def test_the_first_event_of_a_row_may_be_poison(store: EventStore, batcher: Batcher) -> None:
    brittle = BrittleUsers()
    brittle.poison = {1}
    engine = await prepared(store, brittle)
    await of_two_users(batcher)
    await engine.catch_up()
    assert set(await users.by_ids(store.database, [ANN, BOB])) == {BOB}
    brittle.poison = ()
    await engine.retrying.retry("users")
    found = await users.by_ids(store.database, [ANN, BOB])
    assert (found[ANN].version, found[ANN].position, found[ANN].state) == (3, 5, found[BOB].state)


async def test_an_event_that_cannot_be_decoded_stops_only_who_needs_its_data(store: EventStore, batcher: Batcher) -> None:
    engine, history = await prepared(store, *PROJECTIONS), History(batcher)
    await history.add(TENANT, ACME, TenantCreated(name="Acme"), TenantRenamed(name="Emca"), tenant_id=ACME)
    await history.add(USER, ANN, CREATED, tenant_id=ACME)
    await damage(store, 2)
    await engine.catch_up()

    assert {status.name: (status.checkpoint, status.parked) for status in await engine.status()} == {
        "users": (3, 0),
        "roles": (3, 0),
        "tenants": (3, 1),
        "event_stats": (3, 0),
        "logins": (3, 0),
        "role_members": (3, 0),
        "user_names": (3, 0),
    }
    assert await event_stats.by_type(store.database) == {"TenantCreated": 1, "TenantRenamed": 1, "UserCreated": 1}
    (letter,) = await listed(store)
    assert (letter.projection, letter.key, letter.position) == ("tenants", str(ACME), 2)
    assert letter.error is not None
    assert f"TenantRenamed of schema version 1 in stream {ACME} at position 2 cannot be read" in letter.error

    await damage(store, 2, '{"name": "Mended"}')
    assert await engine.retrying.retry("tenants") == Retried(applied=1, parked=0)
    assert await store.database.fetchval("SELECT name FROM read.tenants") == "Mended"
    assert await store.database.fetchval("SELECT to_position FROM read.tenants_history WHERE from_position = 1") == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [("unwritable", "cannot write a row that it made: ValueError"), ("too_large", "value out of int32 range")],
)
async def test_a_row_that_cannot_be_written_parks_the_event_that_made_it(
    store: EventStore, batcher: Batcher, fault: str, error: str
) -> None:
    brittle = Brittle()
    setattr(brittle, fault, {3})
    engine = await prepared(store, brittle)
    await of_two_users(batcher)
    await engine.catch_up()
    assert await counts(store) == {ANN: 1, BOB: 3}
    assert await letters(store) == [(str(ANN), 3, 1, True), (str(ANN), 5, 0, False)]
    (letter,) = await listed(store)
    assert letter.error is not None
    assert error in letter.error

    assert await engine.retrying.retry("brittle") == Retried(applied=0, parked=1)
    assert await letters(store) == [(str(ANN), 3, 2, True), (str(ANN), 5, 0, False)]
    setattr(brittle, fault, ())
    assert await engine.retrying.retry("brittle") == Retried(applied=2, parked=0)
    assert await spans(store, ANN) == [(1, 1, 3), (2, 3, 5), (3, 5, None)]


@pytest.mark.parametrize("fault", ["unwritable", "too_large"])
@pytest.mark.parametrize("stretch", [2, 1000])
async def test_a_rebuild_parks_it_as_well(store: EventStore, batcher: Batcher, fault: str, stretch: int) -> None:
    brittle = Brittle()
    setattr(brittle, fault, {3})
    engine = await prepared(store, brittle)
    await of_two_users(batcher)
    await engine.catch_up()

    async def build(passes: Sequence[Pass]) -> None:
        for each in passes:
            await build_share(store, each.builds, each.share, 1 << 30, stretch=stretch)

    (rebuilt,) = await rebuild(store, [brittle], build, shares=2)
    assert (rebuilt.generation, rebuilt.compared, rebuilt.differences) == (2, True, 0)
    assert await counts(store) == {ANN: 1, BOB: 3}
    (letter,) = await listed(store)
    assert (letter.generation, letter.key, letter.position, letter.behind) == (2, str(ANN), 3, 1)
    assert await parked(engine) == {"brittle": 1}

    setattr(brittle, fault, ())
    await engine.prepare()
    assert await engine.retrying.retry("brittle") == Retried(applied=2, parked=0)
    assert await spans(store, ANN) == [(1, 1, 3), (2, 3, 5), (3, 5, None)]
    assert await spans(store, BOB) == [(1, 2, 4), (2, 4, 6), (3, 6, None)]


async def test_an_event_whose_rows_cannot_be_told_parks_its_stream(store: EventStore, batcher: Batcher) -> None:
    brittle = Brittle()
    brittle.unplaced, brittle.poison = {3}, {5}
    engine = await prepared(store, brittle)
    history = await of_two_users(batcher)
    await engine.catch_up()
    assert await counts(store) == {ANN: 1, BOB: 3}
    stream = f"stream:{ANN}"
    assert await letters(store) == [(stream, 3, 1, True), (stream, 5, 0, False)]
    assert await engine.retrying.retry("brittle") == Retried(applied=0, parked=1)

    brittle.unplaced = ()
    assert await engine.retrying.retry("brittle", stream) == Retried(applied=2, parked=1)
    assert await letters(store) == [(str(ANN), 5, 1, True)], "of this one it is known now which row lacks it"
    await history.add(USER, ANN, UPDATED, tenant_id=ACME)
    await engine.catch_up()
    brittle.poison = ()
    assert await engine.retrying.retry("brittle") == Retried(applied=2, parked=0)
    assert await spans(store, ANN) == [(1, 1, 3), (2, 3, 5), (3, 5, 7), (4, 7, None)]


async def test_an_event_goes_into_those_of_its_rows_that_it_can(store: EventStore, batcher: Batcher) -> None:
    brittle = WithTenants()
    brittle.poison = {4}
    engine, history = await prepared(store, brittle), History(batcher)
    await history.add(TENANT, ACME, TenantCreated(name="Acme"), tenant_id=ACME)
    for number in range(3):
        await history.add(USER, ANN, UPDATED if number else CREATED, tenant_id=ACME)
    await history.add(USER, BOB, CREATED, tenant_id=ACME)
    await engine.catch_up()
    assert await counts(store) == {ACME: 3, ANN: 3, BOB: 1}
    assert await letters(store) == [(str(ACME), 4, 1, True), (str(ACME), 5, 0, False)]
    brittle.poison = ()
    assert await engine.retrying.retry("brittle") == Retried(applied=2, parked=0)
    assert await counts(store) == {ACME: 5, ANN: 3, BOB: 1}


async def test_skipping_drops_the_first_event_and_keeps_the_reason(store: EventStore, batcher: Batcher) -> None:
    brittle = Brittle()
    brittle.poison = {3}
    engine = await prepared(store, brittle)
    await of_two_users(batcher)
    await engine.catch_up()
    skip, key = engine.retrying.skip, str(ANN)
    for wrong, given in (
        ("reason: says why", ("brittle", key, 3, " ")),
        ("position: the first event that waits at .* is at position 3, not 5", ("brittle", key, 5, "why not")),
        ("key: no event of brittle waits there", ("brittle", str(BOB), 4, "why not")),
        ("projection: there is no projection 'bottle'; there are brittle", ("bottle", key, 3, "why not")),
    ):
        with pytest.raises(BadInput, match=wrong):
            await skip(*given[:3], by="me", reason=given[3])
    with pytest.raises(BadInput, match="key: no event of brittle waits there"):
        await engine.retrying.retry("brittle", str(BOB))
    assert len(await letters(store)) == 2

    assert await skip("brittle", key, 3, by="me", reason="made by mistake ") == Retried(applied=1, parked=0)
    assert await letters(store) == []
    assert await listed(store) == []
    assert await spans(store, ANN) == [(1, 1, 5), (2, 5, None)]
    (kept,) = await listed(store, skipped=True)
    assert (kept.position, kept.skipped_by, kept.skipped_reason, kept.behind) == (3, "me", "made by mistake", 0)
    assert kept.error == "ValueError: 3 is poison"
    assert kept.skipped_at is not None


async def test_skipping_retries_the_rest_as_far_as_it_goes(store: EventStore, batcher: Batcher) -> None:
    brittle = Brittle()
    brittle.poison = {1, 5}
    engine = await prepared(store, brittle)
    await of_two_users(batcher, rounds=4)
    await engine.catch_up()
    assert await engine.retrying.skip("brittle", str(ANN), 1, by="me", reason="a test") == Retried(applied=1, parked=1)
    assert await letters(store) == [(str(ANN), 5, 1, True), (str(ANN), 7, 0, False)]
    assert await counts(store) == {ANN: 1, BOB: 4}


async def test_a_crash_leaves_neither_rows_nor_letters(store: EventStore, batcher: Batcher) -> None:
    brittle = Brittle()
    brittle.poison = {3}
    engine = await prepared(store, brittle)
    await of_two_users(batcher)
    await store.database.pool.execute(FAIL)
    with pytest.raises(asyncpg.RaiseError, match="crash"):
        await engine.advance("brittle")
    assert (await counts(store), await letters(store)) == ({}, [])
    await store.database.pool.execute("DROP TRIGGER fail ON es.generations")
    await engine.catch_up()
    assert await letters(store) == [(str(ANN), 3, 1, True), (str(ANN), 5, 0, False)]

    brittle.poison = ()
    await store.database.pool.execute(FAIL.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    with pytest.raises(asyncpg.RaiseError, match="crash"):
        await engine.retrying.retry("brittle")
    assert (await counts(store), len(await letters(store))) == ({ANN: 1, BOB: 3}, 2)
    await store.database.pool.execute("DROP TRIGGER fail ON es.generations")
    assert await engine.retrying.retry("brittle") == Retried(applied=2, parked=0)
    assert await spans(store, ANN) == [(1, 1, 3), (2, 3, 5), (3, 5, None)]


async def test_workers_and_retries_side_by_side_count_each_event_once(
    url: str, store: EventStore, codec: Codec, batcher: Batcher, running: Running
) -> None:
    brittle, history = Brittle(), History(batcher)
    brittle.poison = range(20, 30)
    other_database = await Database.open(url, timeout=PATIENCE)
    one = await prepared(store, brittle, batch_size=3)
    other = await prepared(EventStore(other_database, codec), brittle, batch_size=5)
    async with running(one), running(other):
        for number in range(30):
            for id in (ANN, BOB):
                await history.add(USER, id, UPDATED if number else CREATED, tenant_id=ACME)
            one.wake()
            other.wake()
            if number == 20:
                await one.wait_for(["brittle"], history.position, PATIENCE)
                assert await parked(one) == {"brittle": 2}
                brittle.poison = ()
            if number > 20:
                await asyncio.gather(one.retrying.retry("brittle"), other.retrying.retry("brittle"))
        for engine in (one, other):
            await engine.wait_for(["brittle"], history.position, PATIENCE)
    await one.retrying.retry("brittle")
    await other_database.close()
    assert await counts(store) == {ANN: 30, BOB: 30}
    assert (await letters(store), await parked(one)) == ([], {})
    assert await spans(store, BOB) == [(n, 2 * n, 2 * n + 2 if n < 30 else None) for n in range(1, 31)]


async def test_what_waits_goes_with_its_generation_and_what_was_skipped_stays(store: EventStore, batcher: Batcher) -> None:
    await of_two_users(batcher)
    for number, unread in enumerate(("RoleDefined", "RoleRetired", "TenantRenamed"), start=1):
        projection = Brittle()
        projection.poison, projection.reads = {3, 4}, projection.reads - {unread}
        engine = await prepared(store, projection)
        await engine.catch_up()
        assert [letter.generation for letter in await listed(store)] == [number, number], "only of the one that is read"
        if number == 1:
            first = engine
            await first.retrying.skip("brittle", str(ANN), 3, by="me", reason="a test")
            assert await parked(first) == {"brittle": 1}
    kept = await store.database.fetch("SELECT DISTINCT generation, skipped_reason FROM es.dead_letters ORDER BY 1")
    assert [tuple(row) for row in kept] == [(1, "a test"), (2, None), (3, None)]
    with pytest.raises(BadInput, match="brittle was not built by this release"):
        await first.retrying.retry("brittle")


async def test_the_list_comes_in_pages(store: EventStore, batcher: Batcher) -> None:
    brittle, history, ids = Brittle(), History(batcher), [uuid4() for _ in range(5)]
    brittle.poison = range(1, 6)
    for id in ids * 2:
        await history.add(USER, id, UPDATED if history.begun(id) else CREATED, tenant_id=ACME)
    await (await prepared(store, brittle)).catch_up()
    seen: list[str] = []
    request = PageRequest(first=2)
    while len(seen) < 5:
        found = await dead_letters.page(store.database, request=request)
        seen += [letter.key for letter in found.items]
        assert {letter.behind for letter in found.items} == {1}
        assert found.has_next == (len(seen) < 5)
        request = PageRequest(first=2, after=found.cursors[-1])
    assert seen == sorted(map(str, ids))
    assert [letter.key for letter in await listed(store, projection="brittle", key=seen[3])] == [seen[3]]
    assert await listed(store, projection="users") == []
