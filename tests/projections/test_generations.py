"""A projection that changed is built anew beside the live one, which serves until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from app.domain.role import ROLE, RoleDefined
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections.engine import ProjectionEngine
from projections.fingerprint import fingerprint
from projections.generations import Generation, indexing
from projections.projection import required
from projections.users import USERS
from tests.projections.counting import Count, Counting
from tests.projections.histories import History

pytestmark = pytest.mark.anyio

Running = Callable[[ProjectionEngine], AbstractAsyncContextManager[None]]

ACME = uuid4()
DEFINED = RoleDefined(name="admin", permissions=())


class CountingDouble(Counting):
    """The same projection after a change of its fold."""

    def evolve(self, row: Count | None, recorded: RecordedEvent) -> Count | None:
        return Count(recorded.stream_id, row.events + 2 if row else 2)


class CountingMore(Counting):
    """The same projection after a change of its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table.append_column(required("twice", sa.Integer()))
        self.history = None

    def values(self, row: Count) -> tuple[object, ...]:
        return row.id, row.events, row.events * 2


async def release(store: EventStore, projection: Counting) -> ProjectionEngine:
    engine = ProjectionEngine(store, (projection,))
    await engine.prepare()
    return engine


async def generations(store: EventStore) -> list[tuple[int, bool, int]]:
    rows = await store.database.fetch("SELECT generation, live, checkpoint FROM es.generations ORDER BY generation")
    return [tuple(row) for row in rows]


async def is_live(store: EventStore, generation: int) -> bool:
    return any(live for number, live, _ in await generations(store) if number == generation)


async def counted(store: EventStore, id: UUID) -> int | None:
    events: int | None = await store.database.fetchval("SELECT events FROM read.counting WHERE id = $1", id)
    return events


async def test_a_changed_fold_makes_a_new_generation_and_then_switches(store: EventStore, batcher: Batcher) -> None:
    history, role_id = History(batcher), uuid4()
    await history.add(ROLE, role_id, DEFINED, DEFINED, DEFINED, tenant_id=ACME)
    old = await release(store, Counting())
    await old.catch_up()
    new = await release(store, CountingDouble())
    assert await generations(store) == [(1, True, 3), (2, False, 0)]
    assert await counted(store, role_id) == 3
    assert [(status.generation, status.live, status.status) for status in await new.status()] == [
        (1, True, "running"),
        (2, False, "building"),
    ]

    await new.catch_up()
    assert await generations(store) == [(1, False, 3), (2, True, 3)]
    assert await counted(store, role_id) == 6
    assert await store.database.fetchval("SELECT count(*) FROM read.counting_history") == 3
    assert [status.generation for status in await new.status()] == [2]


async def test_a_new_generation_does_not_go_live_before_it_has_caught_up(store: EventStore, batcher: Batcher) -> None:
    history, role_id = History(batcher), uuid4()
    old = await release(store, Counting())
    new = await release(store, CountingDouble())
    await history.add(ROLE, role_id, DEFINED, tenant_id=ACME)
    await new.advance("counting")
    await history.add(ROLE, role_id, DEFINED, tenant_id=ACME)
    await old.catch_up()
    assert [live for _, live, _ in await generations(store)] == [False, True], "it had caught up when it advanced"

    newest = ProjectionEngine(store, (CountingMore(),), batch_size=1)
    await newest.prepare()
    await new.catch_up()
    await newest.advance("counting")
    assert await generations(store) == [(2, True, 2), (3, False, 1)], "the generation before the live one was dropped"
    await newest.advance("counting")
    await newest.advance("counting")
    assert await generations(store) == [(2, False, 2), (3, True, 2)]
    assert [tuple(row) for row in await store.database.fetch("SELECT * FROM read.counting")] == [(role_id, 2, 4)]


async def test_two_releases_side_by_side_do_not_take_turns_in_being_live(
    store: EventStore, batcher: Batcher, running: Running
) -> None:
    history, role_id = History(batcher), uuid4()
    old, new = await release(store, Counting()), await release(store, CountingDouble())
    async with running(old), running(new):
        for _ in range(20):
            await history.add(ROLE, role_id, DEFINED, tenant_id=ACME)
            old.wake()
            new.wake()
        while not await is_live(store, 2):
            await new.advance("counting")  # readers see all of the first generation until then
        await old.catch_up()
        await new.catch_up()
        assert await counted(store, role_id) == 40
    assert await generations(store) == [(1, False, 20), (2, True, 20)]


async def test_processes_that_start_together_make_one_generation(store: EventStore) -> None:
    engines = [ProjectionEngine(store, (Counting(),)) for _ in range(5)]
    await asyncio.gather(*(engine.prepare() for engine in engines))
    assert await generations(store) == [(1, True, 0)]


async def test_a_query_in_flight_outlives_a_switch(store: EventStore, batcher: Batcher) -> None:
    history, role_id = History(batcher), uuid4()
    await history.add(ROLE, role_id, DEFINED, tenant_id=ACME)
    await (await release(store, Counting())).catch_up()
    new = await release(store, CountingDouble())
    async with store.database.snapshot() as reads:
        assert await reads.fetchval("SELECT events FROM read.counting") == 1
        await new.catch_up()
        assert await generations(store) == [(1, True, 1), (2, False, 1)], "the reader holds the view"
        assert await reads.fetchval("SELECT events FROM read.counting") == 1
    await new.catch_up()
    assert await counted(store, role_id) == 2


async def test_a_table_filled_and_switched_to_during_a_query_is_not_seen_by_it(store: EventStore, batcher: Batcher) -> None:
    history, role_id = History(batcher), uuid4()
    await history.add(ROLE, role_id, DEFINED, tenant_id=ACME)
    await (await release(store, Counting())).catch_up()
    new = await release(store, CountingDouble())
    async with store.database.snapshot(new.views(["counting"])) as reads:
        await reads.fetchval("SELECT 1")  # the state of the whole query is that of now
        await new.catch_up()
        assert await generations(store) == [(1, True, 1), (2, False, 1)], "the query holds the view"
        assert await reads.fetchval("SELECT events FROM read.counting") == 1
    await new.catch_up()
    assert await counted(store, role_id) == 2


def test_the_fingerprint_is_that_of_the_tables_and_of_the_code_that_folds(codec: Codec) -> None:
    def of(projection: Counting) -> str:
        return fingerprint(projection, codec)

    assert of(Counting()) == of(Counting())
    assert len({of(Counting()), of(CountingDouble()), of(CountingMore()), of(Counting("other"))}) == 4
    assert of(Counting()) != of(Counting(reads=frozenset({"RoleDefined"})))
    assert fingerprint(USERS, codec) != of(Counting())


async def test_indexes_that_take_longest_are_made_first() -> None:
    """Those of the twin, of all its rows before some; then the table's, arrays before keys, wide ones before others."""
    made = [sql.split()[5].removeprefix("users_") for sql in indexing(Generation(USERS, 1))]
    assert made[:2] == ["history_g1_tenant_id_octave_updated_at_id_idx", "history_g1_octave_updated_at_id_idx"]
    assert all(name.startswith("history_g1_status_") for name in made[2:5])
    assert made[5] == "g1_role_ids_idx"
    assert all(name.startswith("g1_tenant_id_") for name in made[6:9])
    assert made[-1] == "g1_status_tenant_id_created_at_id_idx"
