"""What looking back costs: a moment that is past against now, a long history against a short one, a snapshot against none."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from app.bench import limits
from app.bench.load import graphql, load
from app.bench.report import SLICES, Line, Slices, Timed, in_slices, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS_PER_USER, started
from app.demo import history
from app.domain.user_events import EmailChanged, UserCreated, UserUpdated
from app.eventstore.append import Append
from app.eventstore.bulk import append_bulk
from app.eventstore.event_filter import EventFilter
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.eventstore.recorded import RecordedEvent
from app.rebuilding import catch_up
from app.settings import Settings
from app.terminal import progress
from app.wiring import Service, service
from projections import users
from projections.users import UserFilter, UserOrder, UserOrderField

CONNECTIONS = 16
PAGE = PageRequest(first=50)
ORDERS = {"oldest first": users.OLDEST_FIRST, "newest first": [UserOrder(UserOrderField.CREATED_AT, descending=True)]}
SHORT, LONG, LONGEST = 50, 1_000, 5_000
"""Events in streams."""

FIELDS = "id username email fullName status version createdAt"
USER = f"query ($id: ID!) {{ user(id: $id) {{ {FIELDS} }} }}"
USER_THEN = f"query ($id: ID!) {{ user(id: $id, at: {{ version: 1 }}) {{ {FIELDS} }} }}"
AT_ONCE = 100
"""Users whose past is asked for again and again."""

SELECT_EVENTS = f"SELECT {', '.join(limits.COLUMNS)} FROM es.events WHERE stream_id = $1 ORDER BY version"
SELECT_EVENT = f"SELECT {', '.join(limits.COLUMNS)} FROM es.events WHERE event_id = $1"


async def measure(settings: Settings, scratch: Scratch, events: int, *, slices: Slices = SLICES) -> AsyncGenerator[Line]:
    """A line for each way of looking back, in a directory of a tenth as many users as events."""
    url = await scratch.fresh()
    async with service(settings, url, run_projections=False) as parts:
        user_ids = await _filled(parts, events)
        streams = {length: await _user_with(parts, length) for length in (SHORT, LONG, LONGEST)}
        await catch_up(parts.store, parts.engine)
        async with parts.database.connection() as connection:
            await connection.execute("VACUUM (ANALYZE)", timeout=600)
        gc.collect()
        gc.freeze()  # as a server does: the raw read was slowed down by what filling the log has left here
        async for each in _replays(parts, streams, slices):
            yield each
        async for each in _directory(parts, events, slices):
            yield each
        async for each in _pages(parts, streams, slices):
            yield each
    with started(settings, url) as (address, _):
        now, then = (graphql(address, document) for document in (USER, USER_THEN))
        ask = partial(load, address, connections=CONNECTIONS, expected=b'"user":{"id":"')
        measured, limit = await in_slices(
            slices,
            partial(ask, lambda: then(id=random.choice(user_ids))),
            partial(ask, lambda: now(id=random.choice(user_ids))),
            at_once=CONNECTIONS,
        )
        yield line(f"user(id, at:) repeated, {CONNECTIONS} connections", measured, limit, "user(id) now", 1 / 1.3)


async def _replays(parts: Service, streams: dict[int, UUID], slices: Slices) -> AsyncGenerator[Line]:
    states, database = parts.store.states, parts.database
    for length, wanted in ((LONG, 10.0), (LONGEST, 50.0)):
        await states.take_snapshot(streams[length], "to be measured", database)
        replay = partial(states.replay, streams[length], None, database)
        measured, limit = await in_slices(slices, repeated(replay), repeated(partial(replay, use_snapshot=False)))
        yield line(f"replay of {length:,} events with a snapshot", measured, limit, "without", wanted)
    folding = repeated(partial(replay, use_snapshot=False))
    async with limits.point_selects(parts.url, SELECT_EVENTS, [streams[LONGEST]]) as reading:
        measured, limit = await in_slices(slices, folding, reading)
    folded, read = ([LONGEST * pace for pace in paces] for paces in (measured, limit))
    yield line(f"fold of {LONGEST:,} events without a snapshot", folded, read, "a raw read of the same events", 1 / 3)


async def _directory(parts: Service, events: int, slices: Slices) -> AsyncGenerator[Line]:
    for name, orders in ORDERS.items():
        page = partial(users.page, parts.database, UserFilter(), orders, request=PAGE)
        moments: dict[str, Moment] = {}
        for share in (0.05, 0.5, 0.95):
            event = await _event_at(parts, events * share)
            moments[f"position at {share:.0%}"] = Moment(position=event.position)
            moments[f"time at {share:.0%}"] = Moment(timestamp=event.occurred_at)
        now, *then = await in_slices(
            slices, repeated(partial(page, as_of=None)), *(repeated(partial(page, as_of=each)) for each in moments.values())
        )
        for moment, measured in zip(moments, then, strict=True):
            yield line(f"users(asOf:) of {events:,} events, {moment}, {name}", measured, now, "users now", 0.5)


async def _pages(parts: Service, streams: dict[int, UUID], slices: Slices) -> AsyncGenerator[Line]:
    store = parts.store

    def first_page(filter: EventFilter, page: PageRequest, *, newest_first: bool = False) -> Timed:
        return repeated(partial(store.events, filter, page, newest_first=newest_first))

    long, short = (first_page(EventFilter(stream_id=streams[length]), PAGE) for length in (LONGEST, SHORT))
    measured, limit = await in_slices(slices, long, short)
    yield line(f"history, first page, of {LONGEST:,} events", measured, limit, f"one of {SHORT}", 1 / 1.5)
    some = await _event_at(parts, await store.head() / 2)
    filter = EventFilter(types=("EmailChanged", "RolesAssigned"), tenant_id=some.tenant_id)
    ids = [each.event_id for each in await store.read(0, 1_000)]
    for page in (PageRequest(), PAGE):
        async with limits.point_selects(parts.url, SELECT_EVENT, ids) as selects:
            measured, limit = await in_slices(slices, first_page(filter, page, newest_first=True), selects)
        yield line(f"events(filter: {{types, tenant}}), first page of {page.size}", measured, limit, "a point select", 0.1)


async def _event_at(parts: Service, position: float) -> RecordedEvent:
    return (await parts.store.read(int(position), 1))[0]


def repeated(work: Callable[[], Awaitable[Any]]) -> Timed:
    """What times a piece of work, one after the other."""

    async def run(seconds: float) -> list[float]:
        done = [time.perf_counter()]
        while len(done) == 1 or done[-1] < done[0] + seconds:
            await work()
            done.append(time.perf_counter())
        return done

    return run


async def _filled(parts: Service, events: int) -> list[UUID]:
    """Fills the log; returns some of the users."""
    facts = history(parts.store.codec, users=events // EVENTS_PER_USER, events=events, seed=1)
    with progress("made-up events") as report:
        await append_bulk(parts.store, facts, on_progress=lambda seen, _: report(seen / events, f"{seen:,}"))
    created = await parts.store.read(0, AT_ONCE, types=["UserCreated"])
    return [each.stream_id for each in created]


async def _user_with(parts: Service, events: int) -> UUID:
    """A user with so many events, a moment of their own each in an append of all."""
    id, tenant_id = uuid7(), (await parts.store.read(0, 1))[0].tenant_id
    changes = (
        EmailChanged(email=f"{id}.{n}@example.com") if n % 2 else UserUpdated(full_name=f"Name {n}") for n in range(events - 1)
    )
    append = Append(
        stream_id=id,
        stream_type="User",
        tenant_id=tenant_id,
        expected_version=0,
        events=(UserCreated(username=str(id), email=f"{id}@example.com"), *changes),
        event_ids=tuple(uuid7() for _ in range(events)),
        occurred_at=datetime.now(UTC),
        metadata={"actor": "bench"},
    )
    await parts.batcher.append(append)
    return id
