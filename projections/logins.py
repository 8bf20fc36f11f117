"""Who tried to log in, when, from where, and whether they got in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa

from app.domain.user_events import LoginInfoUpdated
from app.eventstore.database import Reads
from app.eventstore.paging import Page, PageRequest, fingerprint
from app.eventstore.recorded import RecordedEvent
from projections import keyset
from projections.keyset import By
from projections.projection import READ, TIME, Key, RowProjection, required

# Table

FAILED = sa.text("NOT succeeded")

TABLE = sa.Table(
    "logins",
    READ,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    required("tenant_id", sa.Uuid()),
    required("position", sa.BigInteger()),
    required("occurred_at", TIME),
    required("succeeded", sa.Boolean()),
    sa.Column("ip_address", sa.Text),
    sa.Column("user_agent", sa.Text),
    sa.Index(None, "user_id", "occurred_at", "id"),
    sa.Index(None, "tenant_id", "occurred_at", "id"),
    sa.Index(None, "occurred_at", "id"),
    sa.Index(None, "succeeded", "tenant_id", "occurred_at", "id", postgresql_where=FAILED),
    sa.Index(None, "succeeded", "occurred_at", "id", postgresql_where=FAILED),
)

# Fold


class Login(msgspec.Struct, frozen=True):
    """One attempt to log in."""

    user_id: UUID
    id: UUID
    """That of the event."""
    tenant_id: UUID
    position: int
    occurred_at: datetime
    succeeded: bool
    ip_address: str | None
    user_agent: str | None


class Logins(RowProjection[Login]):
    """One row for each attempt, which never changes."""

    name = "logins"
    table = TABLE
    by_stream = True
    reads = frozenset({LoginInfoUpdated.__name__})

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """The user and the event."""
        return ((recorded.stream_id, recorded.event_id),)

    def evolve(self, row: Login | None, recorded: RecordedEvent) -> Login:
        """The attempt. Where the event does not say from where it came, that is where the request that recorded it came from."""
        event = recorded.event
        assert isinstance(event, LoginInfoUpdated)
        metadata = {} if event.ip_address and event.user_agent else recorded.metadata
        return Login(
            user_id=recorded.stream_id,
            id=recorded.event_id,
            tenant_id=recorded.tenant_id,
            position=recorded.position,
            occurred_at=recorded.occurred_at,
            succeeded=event.succeeded,
            ip_address=event.ip_address or metadata.get("ipAddress"),
            user_agent=event.user_agent or metadata.get("userAgent"),
        )

    def values(self, row: Login) -> tuple[Any, ...]:
        """In the table's order."""
        return msgspec.structs.astuple(row)

    def row(self, record: asyncpg.Record) -> Login:
        """As it was written."""
        return Login(*record)


LOGINS = Logins()

# Queries


class LoginFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempts: those that meet every condition given."""

    user_id: UUID | None = None
    tenant_id: UUID | None = None
    succeeded: bool | None = None
    occurred_after: datetime | None = None
    """At this moment or later."""
    occurred_before: datetime | None = None
    """Before this moment."""
    up_to_position: int | None = None


NO_FILTER = LoginFilter()
FIRST_PAGE = PageRequest()


async def page(reads: Reads, filter: LoginFilter = NO_FILTER, request: PageRequest = FIRST_PAGE) -> Page[Login]:
    """One page of the attempts that the filter lets through, the newest first. Raises BadInput."""
    order = [By(TABLE.c.occurred_at, True), By(TABLE.c.id, True)]
    return await keyset.page(reads, _filtered(filter), order, request, fingerprint("logins", filter), LOGINS.row)


async def count(reads: Reads, filter: LoginFilter = NO_FILTER) -> int:
    """How many attempts the filter lets through."""
    return await keyset.count(reads, _filtered(filter))


def _filtered(filter: LoginFilter) -> sa.Select[Any]:
    return sa.select(TABLE).where(*_conditions(filter))


def _conditions(filter: LoginFilter) -> Iterator[sa.ColumnElement[bool]]:
    row = TABLE.c
    if filter.user_id is not None:
        yield row.user_id == filter.user_id
    if filter.tenant_id is not None:
        yield row.tenant_id == filter.tenant_id
    if filter.succeeded is not None:
        # In the words of the partial indexes: as a value it would not match them.
        yield row.succeeded if filter.succeeded else sa.not_(row.succeeded)
    if filter.occurred_after is not None:
        yield row.occurred_at >= filter.occurred_after
    if filter.occurred_before is not None:
        yield row.occurred_at < filter.occurred_before
    if filter.up_to_position is not None:
        yield row.position <= filter.up_to_position
