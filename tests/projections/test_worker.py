"""A page is applied by two statements, and whoever comes second writes nothing."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.domain.tenant import TENANT, TenantCreated, TenantRenamed
from app.eventstore.batcher import Batcher
from app.eventstore.store import EventStore
from app.eventstore.tail import Tail
from projections import tenants
from projections.engine import ProjectionEngine
from projections.generations import Generation
from projections.leaping import Leaps
from projections.tenants import TENANTS
from projections.worker import Worker
from tests.conftest import PATIENCE
from tests.projections.histories import History

pytestmark = pytest.mark.anyio

ACME = uuid4()
OURS = re.compile(r"\b(es|read)\.")
HOLD = "SELECT FROM es.generations WHERE projection = 'tenants' FOR UPDATE"
SPANS = "SELECT from_position, to_position FROM read.tenants_history ORDER BY from_position"


@pytest.fixture
async def workers(engine: ProjectionEngine, store: EventStore, batcher: Batcher) -> tuple[Worker, Worker]:
    """Two of one generation, which is at the first of two events: that there is a tenant, and what it is called since."""
    history = History(batcher)
    await history.add(TENANT, ACME, TenantCreated(name="Acme"), tenant_id=ACME)
    await engine.catch_up()
    await history.add(TENANT, ACME, TenantRenamed(name="Emca"), tenant_id=ACME)
    one, other = (Worker(store.database, Tail(store, 10), Leaps(store, 10), Generation(TENANTS, 1)) for _ in range(2))
    await one.look()
    await other.look()
    return one, other


async def called(store: EventStore, id: UUID) -> str:
    tenant = await tenants.by_id(store.database, id)
    assert tenant is not None
    return tenant.state.name


async def test_a_page_takes_one_statement_to_read_rows_and_one_to_write_them(
    workers: tuple[Worker, Worker], store: EventStore
) -> None:
    made: list[str] = []

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        if OURS.search(record.query):  # asyncpg asks others, once a connection, to learn what the table's rows are made of
            made.append(record.query)

    async with store.database.connection() as connection:
        connection.add_query_logger(note)
    assert await workers[0].advance() == 1
    events, rows, written = made
    assert "es.events" in events
    assert rows.startswith("SELECT")
    assert "INSERT INTO read.tenants_g1" in written
    assert await called(store, ACME) == "Emca"


async def test_who_comes_second_writes_nothing(workers: tuple[Worker, Worker], store: EventStore) -> None:
    one, other = workers
    assert sorted(await asyncio.gather(one.advance(), other.advance())) == [0, 1]
    assert (one.checkpoint, other.checkpoint) == (2, 2)
    assert [tuple(row) for row in await store.database.fetch(SPANS)] == [(1, 2), (2, None)]
    assert await called(store, ACME) == "Emca"


async def test_a_generation_that_another_works_at_is_passed_over(workers: tuple[Worker, Worker], store: EventStore) -> None:
    async with store.database.connection() as connection, connection.transaction(), asyncio.timeout(PATIENCE):
        await connection.execute(HOLD)
        assert await workers[0].advance() == 0
        assert await called(store, ACME) == "Acme"
    assert await workers[0].advance() == 1


async def test_a_paused_generation_is_left_as_it_is(workers: tuple[Worker, Worker], store: EventStore) -> None:
    await store.database.fetch("UPDATE es.generations SET status = 'paused'")
    assert await workers[0].advance() == 0
    assert await called(store, ACME) == "Acme"
