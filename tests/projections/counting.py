"""A projection of the tests' own: how many events each stream has, and when it had how many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa

from app.eventstore.recorded import RecordedEvent
from projections.event_stats import EVENT_STATS
from projections.projection import Key, RowProjection, required, twin


class Count(msgspec.Struct, frozen=True):
    """How many events a stream has."""

    id: UUID
    events: int


class Counting(RowProjection[Count]):
    """Counts; `gone_after` is the type of event after which a stream counts no more."""

    reads = EVENT_STATS.reads
    gone_after: str | None = None

    def __init__(self, name: str = "counting", reads: frozenset[str] | None = None) -> None:
        self.name = name
        self.reads = reads or EVENT_STATS.reads
        self.table = sa.Table(
            name,
            sa.MetaData(schema="read"),
            sa.Column("id", sa.Uuid, primary_key=True),
            required("events", sa.Integer()),
            sa.Index(f"{name}_events_idx", "events"),
        )
        self.history = twin(self.table)

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        return ((recorded.stream_id,),)

    def evolve(self, row: Count | None, recorded: RecordedEvent) -> Count | None:
        if recorded.type == self.gone_after:
            return None
        return Count(recorded.stream_id, row.events + 1 if row else 1)

    def values(self, row: Count) -> tuple[Any, ...]:
        return row.id, row.events

    def row(self, record: asyncpg.Record) -> Count:
        return Count(record["id"], record["events"])
