"""Appends, reads by two processes, snapshots, and a Redis that forgets, goes and comes back, in any order.

A state is the fold of its events, whatever is held of it where.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.domain.aggregate import Stream
from app.errors import VersionPastEnd
from app.eventstore import cache
from app.eventstore.batcher import Batcher
from app.eventstore.cache import SharedStates, StateCache
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from app.eventstore.snapshots import Snapshots
from app.eventstore.states import States
from app.eventstore.store import EventStore
from tests.conftest import RedisServer
from tests.eventstore.job import NOON, Job
from tests.eventstore.test_snapshots import grow

pytestmark = pytest.mark.anyio

LAST = 2**31 - 1
STREAMS, HELD = 2, 5
"""So few states are held in memory that some are always dropped."""


class Append(NamedTuple):
    """Some events to one stream."""

    stream: int
    events: int


class Load(NamedTuple):
    """A process reads some streams as they are."""

    process: int
    streams: frozenset[int]


class Look(NamedTuple):
    """A process reads a stream as of many moments, some of which are still to come."""

    process: int
    stream: int


class Keep(NamedTuple):
    """A process takes a snapshot."""

    process: int
    stream: int


class Prune(NamedTuple):
    """A process drops the snapshots that need not be kept."""

    process: int


class Go(NamedTuple):
    """Redis goes, and all that it held; it may be back at once."""

    back: bool


class Come(NamedTuple):
    """Redis is there again."""


Step = Append | Load | Look | Keep | Prune | Go | Come

processes, streams = st.integers(0, 1), st.integers(0, STREAMS - 1)
often = st.builds(Append, streams, st.integers(1, 4)) | st.builds(Look, processes, streams)
seldom = st.one_of(
    st.builds(Load, processes, st.frozensets(streams, min_size=1)),
    st.builds(Keep, processes, streams),
    st.builds(Prune, processes),
    st.builds(Go, st.booleans()),
    st.just(Come()),
)


@pytest.fixture
async def stores(
    database: Database, codec: Codec, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[EventStore]]:
    """Of two processes, which ask Redis again as soon as it did not answer."""
    monkeypatch.setattr(cache, "PAUSE", 0.0)
    folds = Folds(codec)
    async with Redis(port=redis_server.port, retry=Retry(NoBackoff(), 0)) as redis:
        shared = [await SharedStates.open(redis, folds, database) for _ in range(2)]
        yield [
            EventStore(database, codec, States(folds, Snapshots(database, folds, every=3, kept=2), StateCache(HELD, each)))
            for each in shared
        ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(often | seldom, min_size=8, max_size=24))
async def test_a_state_is_the_fold_of_its_events(
    batcher: Batcher, stores: list[EventStore], redis_server: RedisServer, steps: list[Step]
) -> None:
    await redis_server.start()
    ids, first, heads = [uuid4() for _ in range(STREAMS)], await stores[0].head(), [0] * STREAMS
    for step in steps:
        match step:
            case Append(stream, events):
                await grow(batcher, ids[stream], events, after=heads[stream])
                heads[stream] += events
            case Load(process, some):
                found = await stores[process].load_many([ids[each] for each in some])
                wanted = {ids[each]: await folded(stores[process], ids[each], Moment(version=heads[each])) for each in some}
                assert found == {id: state for id, state in wanted.items() if state}
            case Look(process, stream):
                await look(stores[process], ids[stream], first, heads[stream])
            case Keep(process, stream):
                if heads[stream]:
                    await stores[process].states.take_snapshot(ids[stream], "a step", stores[process].database)
            case Prune(process):
                await stores[process].states.snapshots.prune()
            case Go(back):
                await redis_server.stop()
                if back:
                    await redis_server.start()
            case Come():
                await redis_server.start()
    for store, id, head in zip(stores, ids, heads, strict=True):
        await look(store, id, first, head)


async def look(store: EventStore, id: UUID, first: int, head: int) -> None:
    for number in (0, 2, 5, 9):
        if head and number > head:
            with pytest.raises(VersionPastEnd):
                await store.state_at(id, Moment(version=number))
        else:
            assert await store.state_at(id, Moment(version=number)) == await folded(store, id, Moment(version=number))
        for moment in (Moment(position=first + number), Moment(timestamp=NOON + timedelta(minutes=number))):
            assert await store.state_at(id, moment) == await folded(store, id, moment), moment


async def folded(store: EventStore, id: UUID, moment: Moment) -> Stream[Job] | None:
    """The stream, plainly folded from those of its events that count at the moment."""
    stream, evolve = None, store.codec.aggregates["Job"].evolve
    for recorded in await store.stream_events(id, 1, LAST):
        if counts(recorded, moment):
            stream = Stream(
                id=id,
                type="Job",
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                position=recorded.position,
                state=evolve(stream.state if stream else None, recorded.event, recorded.occurred_at),
            )
    return stream


def counts(recorded: RecordedEvent, moment: Moment) -> bool:
    if moment.version is not None:
        return recorded.version <= moment.version
    if moment.position is not None:
        return recorded.position <= moment.position
    return moment.timestamp is not None and recorded.occurred_at <= moment.timestamp
