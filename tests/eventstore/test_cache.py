"""States in memory and in Redis: found without folding, never stale, and never missed when Redis is gone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from redis.asyncio import Redis

from app.domain.aggregate import Stream
from app.errors import VersionPastEnd
from app.eventstore.batcher import Batcher
from app.eventstore.cache import SharedStates, StateCache
from app.eventstore.codec import Codec
from app.eventstore.database import Database, Query
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment
from app.eventstore.snapshots import Snapshots
from app.eventstore.states import States
from app.eventstore.store import EventStore
from tests.eventstore.job import NOON, TENANT
from tests.eventstore.test_snapshots import fold, grow

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


class Counted:
    """Reads that are counted: statements, and the rows of events that they brought."""

    walled = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements = 0
        self.events = 0

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        rows = await self._database.fetch(query, *args)
        self.statements += 1
        self.events += sum(row["version"] is not None for row in rows)
        return rows

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: Query, *args: Any) -> Any:
        return (await self.fetch(query, *args))[0][0]

    def taken(self) -> tuple[int, int]:
        """How many of each since this was last asked."""
        taken, self.statements, self.events = (self.statements, self.events), 0, 0
        return taken


Process = Callable[[], Awaitable[EventStore]]


@pytest.fixture
def counted(database: Database) -> Counted:
    return Counted(database)


@pytest.fixture
def process(database: Database, codec: Codec, redis: Redis) -> Process:
    """Makes the store of another process with the same Redis."""

    async def make() -> EventStore:
        folds = Folds(codec)
        cache = StateCache(100, await SharedStates.open(redis, folds, database))
        return EventStore(database, codec, States(folds, Snapshots(database, folds), cache))

    return make


def store_of(database: Database, codec: Codec, cache: StateCache) -> EventStore:
    folds = Folds(codec)
    return EventStore(database, codec, States(folds, Snapshots(database, folds), cache))


async def test_only_the_head_and_what_is_new_are_read(
    batcher: Batcher, database: Database, codec: Codec, counted: Counted
) -> None:
    store, id = store_of(database, codec, StateCache(10)), uuid4()
    await grow(batcher, id, 5)
    for taken in ((1, 5), (1, 0)):
        assert await store.load(id, counted) == fold(id, 5)
        assert counted.taken() == taken
    await grow(batcher, id, 2, after=5)
    assert await store.load(id, counted) == fold(id, 7)
    assert counted.taken() == (1, 2)
    assert await store.state_at(id, Moment(timestamp=NOON + 99 * MINUTE), counted) == fold(id, 7)
    assert counted.taken() == (1, 0), "nothing has happened to it since"
    stats = store.states.cache.stats()
    assert (stats.states, stats.hits, stats.misses, stats.hit_rate) == (1, 2, 2, 0.5)


async def test_a_moment_that_is_past_is_asked_for_once(
    batcher: Batcher, database: Database, codec: Codec, counted: Counted
) -> None:
    store, id = store_of(database, codec, StateCache(10)), uuid4()
    await grow(batcher, id, 5)
    for moment in (Moment(version=2), Moment(position=2), Moment(timestamp=NOON + 1.5 * MINUTE)):
        for taken in ((1, 2), (0, 0)):
            assert await store.state_at(id, moment, counted) == fold(id, 2)
            assert counted.taken() == taken, moment
    with pytest.raises(VersionPastEnd):
        await store.state_at(id, Moment(version=6))


@pytest.mark.parametrize("moment", [Moment(position=7), Moment(timestamp=NOON + 6 * MINUTE)])
async def test_a_moment_that_may_get_another_event_is_not_kept(
    batcher: Batcher, database: Database, codec: Codec, moment: Moment
) -> None:
    store, id = store_of(database, codec, StateCache(10)), uuid4()
    for upto in (5, 6, 7, 9):
        head = (await store.load(id) or Stream(id=id, type="Job", tenant_id=TENANT, version=0, position=0, state=None)).version
        await grow(batcher, id, upto - head, after=head)
        assert await store.state_at(id, moment) == fold(id, min(upto, 7))


async def test_a_tenants_view_finds_nothing_of_another(batcher: Batcher, database: Database, codec: Codec) -> None:
    store, id = store_of(database, codec, StateCache(10)), uuid4()
    await grow(batcher, id, 2)
    assert await store.state_at(id, Moment(version=1)) == fold(id, 1)
    assert await store.load(id) == fold(id, 2)
    for tenant_id, found in ((TENANT, fold(id, 1)), (UUID(int=9), None)):
        assert await store.of_tenant(tenant_id).state_at(id, Moment(version=1)) == found
    assert await store.of_tenant(UUID(int=9)).load(id) is None


async def test_the_states_used_last_are_held(batcher: Batcher, database: Database, codec: Codec) -> None:
    store, ids = store_of(database, codec, StateCache(2)), [uuid4() for _ in range(3)]
    for id in ids:
        await grow(batcher, id, 1)
    for id in (ids[0], ids[1], ids[0], ids[2], ids[0], ids[1]):
        await store.load(id)
    stats = store.states.cache.stats()
    assert (stats.states, stats.hits, stats.misses) == (2, 2, 4)


async def test_processes_share_states_by_redis(batcher: Batcher, process: Process, counted: Counted) -> None:
    id, one, other = uuid4(), await process(), await process()
    await grow(batcher, id, 5)
    assert await one.load(id, counted) == fold(id, 5)
    assert await one.state_at(id, Moment(version=3), counted) == fold(id, 3)
    counted.taken()
    assert await other.load(id, counted) == fold(id, 5)
    assert await other.state_at(id, Moment(version=3), counted) == fold(id, 3)
    assert counted.taken() == (1, 0)
    stats = other.states.cache.stats()
    assert (stats.hits, stats.shared_hits, stats.misses, stats.hit_rate) == (0, 2, 0, 1.0)


async def test_what_is_damaged_in_redis_is_folded_again(batcher: Batcher, process: Process, redis: Redis) -> None:
    id = uuid4()
    await grow(batcher, id, 5)
    await (await process()).load(id)
    for junk in (b"Job\njunk", b"Nothing\njunk", b"junk"):
        (key,) = await redis.keys("hindsight:state:*")
        await redis.set(key, junk)
        assert await (await process()).load(id) == fold(id, 5)


async def test_without_redis_states_are_folded(
    batcher: Batcher, database: Database, codec: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    id = uuid4()
    await grow(batcher, id, 5)
    async with Redis(port=1) as nowhere:
        folds = Folds(codec)
        store = store_of(database, codec, StateCache(1, await SharedStates.open(nowhere, folds, database)))
        with caplog.at_level(logging.WARNING):
            assert await store.load(id) == fold(id, 5)
            assert await store.state_at(id, Moment(version=2)) == fold(id, 2)
    assert caplog.text.count("Redis does not answer") == 1, "it is left alone for a while"
