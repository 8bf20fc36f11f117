"""Events are counted by tenant, type and day: for every filter as many as counting the log itself finds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import combinations_with_replacement, product
from uuid import UUID, uuid4

import pytest

from app.domain.tenant import TENANT, TenantCreated, TenantRenamed
from app.eventstore.batcher import Batcher
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import event_stats
from projections.engine import ProjectionEngine
from projections.event_stats import EVENT_STATS, EventStatsFilter
from tests.projections.histories import History

pytestmark = pytest.mark.anyio

ACME, OTHER = uuid4(), uuid4()
MIDNIGHTS = [datetime(2026, *month_and_day, tzinfo=UTC) for month_and_day in ((1, 1), (1, 31), (2, 1), (2, 28), (3, 1), (4, 30))]
DAYS = [midnight.date() for midnight in MIDNIGHTS]
SPANS: list[tuple[date | None, date | None]] = [
    (None, None),
    *((day, None) for day in DAYS),
    *((None, day) for day in (date.min, *DAYS, date.max)),
    *combinations_with_replacement((date(2026, 1, 2), *DAYS, date(2026, 12, 31)), 2),
    (DAYS[-1], DAYS[0]),
]
TYPES = (None, ("TenantCreated",), ("TenantRenamed", "TenantCreated"), ("UserCreated",), ())


@pytest.fixture
async def log(engine: ProjectionEngine, store: EventStore, batcher: Batcher) -> list[RecordedEvent]:
    """Two tenants' events at the first and the last moments of days, which are also those of months."""
    history = History(batcher)
    for tenant_id, name in ((ACME, "Acme"), (OTHER, "Other")):
        await history.add(TENANT, tenant_id, TenantCreated(name=name), tenant_id=tenant_id, at=MIDNIGHTS[0])
    moments = [each for midnight in MIDNIGHTS for each in (midnight, midnight + timedelta(days=1, microseconds=-1))]
    for number, moment in enumerate(moments):
        names = (TenantRenamed(name=f"{number}.{n}") for n in range(1 + number % 3))
        await history.add(TENANT, ACME, *names, tenant_id=ACME, at=moment)
    await history.add(TENANT, OTHER, TenantRenamed(name="Rest"), tenant_id=OTHER, at=MIDNIGHTS[-1])
    await engine.catch_up()
    return await store.read(0, 1000)


def lets_through(filter: EventStatsFilter, recorded: RecordedEvent) -> bool:
    return (
        filter.tenant_id in (None, recorded.tenant_id)
        and (filter.types is None or recorded.type in filter.types)
        and (filter.from_day or date.min) <= recorded.occurred_at.date() <= (filter.to_day or date.max)
    )


async def test_every_filter_counts_as_the_log_does(store: EventStore, log: list[RecordedEvent]) -> None:
    reads, found = store.database, 0
    tenants: tuple[UUID | None, ...] = (None, ACME, OTHER, uuid4())
    some_spans = (SPANS[0], (DAYS[1], None), (None, DAYS[3]), (DAYS[1], DAYS[4]))
    for tenant_id, types, (from_day, to_day) in {*product((None, ACME), (None,), SPANS), *product(tenants, TYPES, some_spans)}:
        filter = EventStatsFilter(tenant_id=tenant_id, types=types, from_day=from_day, to_day=to_day)
        events = [recorded for recorded in log if lets_through(filter, recorded)]
        found += len(events)
        assert await event_stats.total(reads, filter) == len(events)
        assert await event_stats.by_type(reads, filter) == Counter(each.type for each in events)
        assert await event_stats.by_tenant(reads, filter) == Counter(each.tenant_id for each in events)
        assert await event_stats.by_day(reads, filter) == Counter(each.occurred_at.date() for each in events)
    assert found


async def test_the_most_come_first_and_days_in_their_order(store: EventStore, log: list[RecordedEvent]) -> None:
    assert [*await event_stats.by_type(store.database)] == ["TenantRenamed", "TenantCreated"]
    assert [*await event_stats.by_tenant(store.database)] == [ACME, OTHER]
    assert [*await event_stats.by_day(store.database)] == DAYS
    assert EVENT_STATS.history is None
