"""A generation that is far behind takes many pages at once, and comes to what it would have come to page by page."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event
from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import LONGEST_EXCERPT, EventStore
from projections import users
from projections.engine import ProjectionEngine
from projections.leaping import LONGEST
from projections.users import USERS
from tests.conftest import PATIENCE
from tests.projections.brittle import FussyUsers
from tests.projections.histories import NOON, History, folded, played, steps
from tests.projections.test_parked_fold import check_every_moment, check_what_waits

pytestmark = pytest.mark.anyio

ACME = UUID("00000000-0000-4000-8000-000000000001")
IDS = [UUID(int=number) for number in range(1, 61)]
CREATED = UserCreated(username="ada", email="ada@example.org")
REFUSE = "ALTER TABLE read.users_g1 ADD CHECK (full_name <> 'refused')"
TAKE_IN = "ALTER TABLE read.users_g1 DROP CONSTRAINT users_g1_full_name_check"


async def prepared(store: EventStore, *, batch_size: int) -> ProjectionEngine:
    engine = ProjectionEngine(store, [USERS], batch_size=batch_size)
    await engine.prepare()
    return engine


async def of_each_user(batcher: Batcher, events: Sequence[Event] = (CREATED, *(UserUpdated(full_name="A"),) * 3)) -> History:
    """The first event of every user, then the second of every user, and so on."""
    history = History(batcher)
    for event in events:
        await history.add_all([(USER, id, ACME, NOON, (event,)) for id in IDS])
    return history


async def check(store: EventStore) -> None:
    """All rows and every version of them are the plain fold of the log."""
    events = await store.read(0, 10_000)
    assert await users.by_ids(store.database, IDS) == folded(events)
    await check_every_moment(store, IDS, events, range(0, len(events) + 1, 50))
    assert await store.database.fetchval("SELECT count(*) FROM read.users_history") == len(events)


async def test_far_behind_many_pages_are_taken_at_once(store: EventStore, batcher: Batcher) -> None:
    engine = await prepared(store, batch_size=2)
    history = await of_each_user(batcher)
    advanced = [await engine.advance("users") for _ in range(5)]
    assert advanced == [2, 2 * LONGEST, 2 * LONGEST, history.position - 2 - 4 * LONGEST, 0]
    await check(store)


async def test_near_the_end_pages_are_taken_one_by_one(store: EventStore, batcher: Batcher) -> None:
    engine = await prepared(store, batch_size=50)
    await of_each_user(batcher)
    assert [await engine.advance("users") for _ in range(6)] == [50, 50, 50, 50, 40, 0]
    await check(store)


async def test_a_long_stream_of_several_excerpts(store: EventStore, batcher: Batcher) -> None:
    engine, history, length = await prepared(store, batch_size=100), History(batcher), LONGEST_EXCERPT + 50
    await history.add(USER, IDS[0], CREATED, *[UserUpdated(full_name=f"{n}") for n in range(1, length)], tenant_id=ACME)
    assert [await engine.advance("users") for _ in range(2)] == [100, length - 100]
    await check(store)


async def test_an_event_that_cannot_be_folded_is_parked_on_the_way(store: EventStore, batcher: Batcher) -> None:
    projection, history = FussyUsers(), await of_each_user(batcher)
    projection.poison = {NOON.replace(hour=13)}
    await history.add(USER, IDS[7], UserUpdated(full_name="B"), tenant_id=ACME, at=NOON.replace(hour=13))
    for hour in (14, 15):
        await history.add_all([(USER, id, ACME, NOON.replace(hour=hour), (UserUpdated(full_name="C"),)) for id in IDS])
    engine = ProjectionEngine(store, [projection], batch_size=4)
    await engine.prepare()
    assert [await engine.advance("users") for _ in range(2)] == [200, history.position - 200], "the second leap has it"
    waiting = [row["position"] for row in await store.database.fetch("SELECT position FROM es.dead_letters ORDER BY 1")]
    assert waiting == [241, 249, 309]

    await history.add_all([(USER, id, ACME, NOON.replace(hour=16), (UserUpdated(full_name="D"),)) for id in IDS])
    await engine.catch_up()
    projection.poison = ()
    assert (await engine.retrying.retry("users")).applied == 4, "what came in another leap waited behind it"
    await check(store)


async def test_a_row_that_is_refused_is_found_page_by_page(store: EventStore, batcher: Batcher) -> None:
    engine = await prepared(store, batch_size=10)
    history = await of_each_user(batcher)
    await history.add(USER, IDS[7], UserUpdated(full_name="refused"), tenant_id=ACME)
    await store.database.fetch(REFUSE)
    advanced = 0
    while now := await engine.advance("users"):
        advanced += now
    assert advanced == history.position
    assert (await engine.status())[0].parked == 1
    await store.database.fetch(TAKE_IN)
    assert (await engine.retrying.retry("users")).applied == 1
    await check(store)


async def test_who_comes_second_finds_out(url: str, store: EventStore, codec: Codec, batcher: Batcher) -> None:
    other_database = await Database.open(url, timeout=PATIENCE)
    one, other = await prepared(store, batch_size=1), await prepared(EventStore(other_database, codec), batch_size=1)
    await of_each_user(batcher)
    assert [await engine.advance("users") for engine in (one, one, other, other, one, one, other)] == [1, 50, 0, 50, 0, 50, 0]
    await other.catch_up()
    await other_database.close()
    await check(store)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(steps(), min_size=1, max_size=4), hours=st.sets(st.integers(0, 30)))
async def test_whatever_happens_and_whatever_is_poison(
    store: EventStore, batcher: Batcher, steps: list[list[tuple[int, Event, Event, int]]], hours: set[int]
) -> None:
    start, projection = await store.head(), FussyUsers()
    engine = ProjectionEngine(store, [projection], batch_size=1)
    await engine.prepare()
    ids = list[UUID]()
    for some in steps:
        ids += (await played(batcher, some))[0]
        projection.poison = {
            recorded.occurred_at for recorded in await store.read(start, 1000) if recorded.position % 31 in hours
        }
        await engine.advance("users")
        await engine.advance("users")
    events = [recorded for recorded in await store.read(start, 1000) if recorded.stream_type == "User"]
    seen = (await engine.status())[0]
    waiting = await check_what_waits(store, [each for each in events if each.position <= seen.checkpoint], seen.parked)
    wanted = folded(events, lambda each: each.position <= seen.checkpoint and each.position not in waiting)
    assert await users.by_ids(store.database, ids) == wanted

    projection.poison = ()
    await engine.catch_up()
    await engine.retrying.retry("users")
    assert await check_what_waits(store, events, 0) == set()
    await check_every_moment(store, ids, events, range(start, await store.head() + 1))
