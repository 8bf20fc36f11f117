"""How many events there are by tenant, type and day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa

from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.eventstore.database import Reads
from app.eventstore.recorded import RecordedEvent
from projections.projection import READ, Key, RowProjection, required

# Table

TABLE = sa.Table(
    "event_stats",
    READ,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    required("events", sa.BigInteger()),
    sa.Index(None, "day"),
    postgresql_with={"fillfactor": 80},
)

# Fold


class EventCount(msgspec.Struct, frozen=True):
    """How many events of a type a tenant had on a day, which is UTC's and the one on which they occurred."""

    tenant_id: UUID
    type: str
    day: date
    events: int


class EventStats(RowProjection[EventCount]):
    """Counts every event of the service."""

    name = "event_stats"
    table = TABLE
    reads = frozenset(event.__name__ for aggregate in (USER, ROLE, TENANT) for event in aggregate.events)

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """Tenant, type and day."""
        return ((recorded.tenant_id, recorded.type, recorded.occurred_at.astimezone(UTC).date()),)

    def evolve(self, row: EventCount | None, recorded: RecordedEvent) -> EventCount:
        """One more."""
        if row is not None:
            return EventCount(row.tenant_id, row.type, row.day, row.events + 1)
        ((tenant_id, type, day),) = self.key(recorded)
        return EventCount(tenant_id, type, day, 1)

    def values(self, row: EventCount) -> tuple[Any, ...]:
        """In the table's order."""
        return row.tenant_id, row.type, row.day, row.events

    def row(self, record: asyncpg.Record) -> EventCount:
        """As it was written."""
        return EventCount(*record)


EVENT_STATS = EventStats()

# Queries


class EventStatsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are counted: those that meet every condition given."""

    tenant_id: UUID | None = None
    types: tuple[str, ...] | None = None
    from_day: date | None = None
    to_day: date | None = None
    """The last day that counts."""


NO_FILTER = EventStatsFilter()


async def total(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> int:
    """How many events there are."""
    counted: int = await reads.fetchval(sa.select(_sum()).where(*_conditions(filter)))
    return counted


async def by_type(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[str, int]:
    """How many of each type, the most frequent first."""
    return dict(await _totals(reads, TABLE.c.type, filter, _sum().desc(), TABLE.c.type.collate("C")))


async def by_tenant(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[UUID, int]:
    """How many of each tenant, the one with most first."""
    return dict(await _totals(reads, TABLE.c.tenant_id, filter, _sum().desc(), TABLE.c.tenant_id))


async def by_day(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[date, int]:
    """How many on each day that had any, the first day first."""
    return dict(await _totals(reads, TABLE.c.day, filter, TABLE.c.day))


def _sum() -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(TABLE.c.events), 0), sa.BigInteger)


async def _totals(
    reads: Reads, column: sa.Column[Any], filter: EventStatsFilter, *order: sa.ColumnElement[Any]
) -> list[tuple[Any, int]]:
    query = sa.select(column, _sum()).where(*_conditions(filter)).group_by(column).order_by(*order)
    return [(value, counted) for value, counted in await reads.fetch(query)]


def _conditions(filter: EventStatsFilter) -> Iterator[sa.ColumnElement[bool]]:
    row = TABLE.c
    if filter.tenant_id is not None:
        yield row.tenant_id == filter.tenant_id
    if filter.types is not None:
        yield row.type == sa.any_(sa.literal(list(filter.types), sa.ARRAY(sa.Text)))
    if filter.from_day is not None:
        yield row.day >= filter.from_day
    if filter.to_day is not None:
        yield row.day <= filter.to_day
