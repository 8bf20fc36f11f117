"""How many events there are by tenant, type and day.

A row has the days of a month: all there ever were are added up from a number a month.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

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
    sa.Column("month", sa.Date, primary_key=True),
    required("events", sa.BigInteger()),  # of all its days, so that whole months need not be taken apart
    required("days", sa.ARRAY(sa.Integer)),
    sa.Index(None, "month"),
    postgresql_with={"fillfactor": 80},
)

# Fold


class Month(msgspec.Struct, frozen=True):
    """How many events of a type a tenant had in a month; days are UTC's, and those on which events occurred."""

    tenant_id: UUID
    type: str
    month: date
    """Its first day."""
    days: tuple[int, ...] = (0,) * 31
    """On each day."""


class EventStats(RowProjection[Month]):
    """Counts every event of the service."""

    name = "event_stats"
    table = TABLE
    reads = frozenset(event.__name__ for aggregate in (USER, ROLE, TENANT) for event in aggregate.events)

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """Tenant, type and month."""
        return ((recorded.tenant_id, recorded.type, _day(recorded).replace(day=1)),)

    def evolve(self, row: Month | None, recorded: RecordedEvent) -> Month:
        """One more on its day."""
        day = _day(recorded)
        month = row or Month(recorded.tenant_id, recorded.type, day.replace(day=1))
        before, of_day, after = month.days[: day.day - 1], month.days[day.day - 1], month.days[day.day :]
        return replace(month, days=(*before, of_day + 1, *after))

    def values(self, row: Month) -> tuple[Any, ...]:
        """In the table's order."""
        return row.tenant_id, row.type, row.month, sum(row.days), row.days

    def row(self, record: asyncpg.Record) -> Month:
        """As it was written."""
        return Month(record["tenant_id"], record["type"], record["month"], tuple(record["days"]))


def _day(recorded: RecordedEvent) -> date:
    return recorded.occurred_at.astimezone(UTC).date()


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

OF_DAYS = (
    sa.func.unnest(TABLE.c.days)
    .table_valued(sa.column("events", sa.BigInteger), with_ordinality="place", joins_implicitly=True)
    .render_derived(name="of_days")
)
"""The days of a row."""
DAY = TABLE.c.month + sa.cast(OF_DAYS.c.place, sa.Integer) - 1


async def total(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> int:
    """How many events there are."""
    counted: int = await reads.fetchval(sa.select(sa.func.coalesce(_added(filter), 0)).where(*_of_rows(filter)))
    return counted


async def by_type(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[str, int]:
    """How many of each type, the most frequent first."""
    events = _added(filter)
    return await _by(reads, TABLE.c.type, events, _of_rows(filter), events.desc(), TABLE.c.type.collate("C"))


async def by_tenant(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[UUID, int]:
    """How many of each tenant, the one with most first."""
    events = _added(filter)
    return await _by(reads, TABLE.c.tenant_id, events, _of_rows(filter), events.desc(), TABLE.c.tenant_id)


async def by_day(reads: Reads, filter: EventStatsFilter = NO_FILTER) -> dict[date, int]:
    """How many on each day that had any, the first day first."""
    return await _by(reads, DAY, _sum(OF_DAYS.c.events), (*_of_rows(filter), *_of_days(filter)), DAY)


async def _by(
    reads: Reads,
    column: sa.ColumnElement[Any],
    events: sa.ColumnElement[int],
    conditions: Iterable[sa.ColumnElement[bool]],
    *order: sa.ColumnElement[Any],
) -> dict[Any, int]:
    query = sa.select(column, events).where(*conditions).group_by(column).having(events > 0).order_by(*order)
    return dict(map(tuple, await reads.fetch(query)))


def _added(filter: EventStatsFilter) -> sa.ColumnElement[int]:
    """Of all rows: what each counts on the days that the filter lets through, which are added up in the first and last month."""
    between: list[sa.ColumnElement[bool]] = []
    if filter.from_day is not None:
        between.append(TABLE.c.month >= filter.from_day)
    if filter.to_day is not None:
        between.append(TABLE.c.month < filter.to_day.replace(day=1))
    if not between:
        return _sum(TABLE.c.events)
    of_days = sa.select(sa.func.sum(OF_DAYS.c.events)).where(*_of_days(filter)).correlate(TABLE).scalar_subquery()
    return _sum(sa.case((sa.and_(*between), TABLE.c.events), else_=of_days))


def _sum(events: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.sum(events), sa.BigInteger)


def _of_rows(filter: EventStatsFilter) -> Iterator[sa.ColumnElement[bool]]:
    row = TABLE.c
    if filter.tenant_id is not None:
        yield row.tenant_id == filter.tenant_id
    if filter.types is not None:
        yield row.type == sa.any_(sa.literal(list(filter.types), sa.ARRAY(sa.Text)))
    if filter.from_day is not None:
        yield row.month >= filter.from_day.replace(day=1)
    if filter.to_day is not None:
        yield row.month <= filter.to_day


def _of_days(filter: EventStatsFilter) -> Iterator[sa.ColumnElement[bool]]:
    if filter.from_day is not None or filter.to_day is not None:
        yield DAY.between(filter.from_day or date.min, filter.to_day or date.max)
