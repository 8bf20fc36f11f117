"""Every row, of the tables and of their twins, is the plain fold of the log at that moment, wherever a page ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event, Stream
from app.eventstore.batcher import Batcher
from app.eventstore.database import Database
from app.eventstore.moment import Moment
from app.eventstore.store import EventStore
from projections import event_stats, roles, tenants, users
from projections.asof import NEVER_CHANGING
from projections.engine import ProjectionEngine
from projections.projection import READ
from tests.projections.histories import folded, played, steps

pytestmark = pytest.mark.anyio

OVERLAPS = """
    SELECT count(*) FROM read.{twin} a JOIN read.{twin} b ON a.id = b.id AND a.from_position < b.from_position
    WHERE a.to_position IS NULL OR a.to_position > b.from_position OR a.valid_to > b.valid_from
"""
OTHER_THAN_NOW = """
    SELECT count(*) FROM read.{twin} past JOIN read.{table} now USING (id)
    WHERE ({past}) IS DISTINCT FROM ({now})
"""
CHANGED_OTHERWISE = "SELECT count(*) FROM read.{twin} WHERE updated_at <> valid_from"
OPEN = "SELECT count(*) FROM read.{twin} WHERE to_position IS NULL"


async def seen(database: Database, ids: list[UUID], as_of: Moment | None) -> dict[UUID, Stream[Any]]:
    found: dict[UUID, Stream[Any]] = {}
    for model in (users, roles, tenants):
        found |= await model.by_ids(database, ids, as_of)
    return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps(), engine=st.integers(0, 2))
async def test_rows_and_twins_are_the_fold_at_every_position_and_time(
    store: EventStore,
    batcher: Batcher,
    engines: list[ProjectionEngine],
    steps: list[tuple[int, Event, Event, int]],
    engine: int,
) -> None:
    database = store.database
    before = await store.head()
    ids, head = await played(batcher, steps)
    await engines[engine].catch_up()

    events = await store.read(before, 1000)
    assert await seen(database, ids, None) == folded(events)
    for position in range(before, head + 1):
        assert await seen(database, ids, Moment(position=position)) == folded(events, lambda e: e.position <= position)  # noqa: B023
    times = sorted({event.occurred_at for event in events})
    for time in (times[0] - timedelta(microseconds=1), *times, times[-1] + timedelta(days=1)):
        assert await seen(database, ids, Moment(timestamp=time)) == folded(events, lambda e: e.occurred_at <= time)  # noqa: B023
    assert await event_stats.total(database) == head

    for model in ("users", "roles", "tenants"):
        columns = [name for name in NEVER_CHANGING if name in READ.tables[f"read.{model}"].columns]
        past, now = (", ".join(f"{row}.{name}" for name in columns) for row in ("past", "now"))
        names = {"table": model, "twin": f"{model}_history", "past": past, "now": now}
        assert await database.fetchval(OVERLAPS.format(**names)) == 0
        assert await database.fetchval(OTHER_THAN_NOW.format(**names)) == 0, "lists as of a moment rely on it"
        assert await database.fetchval(CHANGED_OTHERWISE.format(**names)) == 0, "lists by last change rely on it"
        assert await database.fetchval(OPEN.format(**names)) == await database.fetchval(f"SELECT count(*) FROM read.{model}")
