"""The read model of tenants: as they are, and as they were at any moment."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.domain.names import normalise
from app.domain.tenant import TENANT, Tenant, TenantStatus
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from projections import keyset, lookup
from projections.asof import Columns, list_as_of
from projections.keyset import By
from projections.lookup import is_among
from projections.projection import BYTEWISE, READ, TIME, AggregateProjection, Derived, required, stream_columns, twin
from projections.texts import contains

# Table

TABLE = sa.Table(
    "tenants",
    READ,
    *stream_columns(),
    required("name", sa.Text()),
    sa.Column("suspended_at", TIME),
    sa.Column("suspension_reason", sa.Text),
    required("created_at", TIME),
    required("updated_at", TIME),
    required("status", sa.Text()),
    required("name_key", BYTEWISE),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "name_key", "id"),
)

HISTORY = twin(TABLE)

# Fold


def name_key(tenant: Tenant) -> str:
    """The form in which two spellings of the name are equal."""
    return normalise(tenant.name)


DERIVED = {"status": Derived(("suspended_at",)), "name_key": Derived(("name",), name_key)}

TENANTS = AggregateProjection("tenants", TENANT, Tenant, TABLE, HISTORY, DERIVED)

# Queries


class TenantFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tenants: those that meet every condition given. Names count as the same however they are spelt."""

    ids: tuple[UUID, ...] | None = None
    name: str | None = None
    status: TenantStatus | None = None
    search: str | None = None
    """Part of the name."""


class TenantOrderField(enum.Enum):
    """What tenants can be ordered by; the value is the column."""

    CREATED_AT = "created_at"
    NAME = "name_key"


class TenantOrder(msgspec.Struct, frozen=True):
    """One key of an order."""

    field: TenantOrderField
    descending: bool = False


NO_FILTER = TenantFilter()
BY_NAME = (TenantOrder(TenantOrderField.NAME),)
FIRST_PAGE = PageRequest()


async def by_id(reads: Reads, id: UUID, as_of: Moment | None = None) -> Stream[Tenant] | None:
    """The tenant, or None if there is or was none."""
    return await lookup.by_id(reads, TENANTS, id, as_of)


async def by_ids(reads: Reads, ids: Collection[UUID], as_of: Moment | None = None) -> dict[UUID, Stream[Tenant]]:
    """Those of the tenants that exist or existed."""
    return await lookup.by_ids(reads, TENANTS, ids, as_of)


async def page(
    reads: Reads,
    filter: TenantFilter = NO_FILTER,
    orders: Sequence[TenantOrder] = BY_NAME,
    as_of: Moment | None = None,
    request: PageRequest = FIRST_PAGE,
) -> Page[Stream[Tenant]]:
    """One page of the tenants that the filter lets through. Raises BadInput."""
    query, row = _filtered(filter, as_of)
    keys = keyset.total_order([By(row[order.field.value], order.descending) for order in orders], row.id)
    mark = fingerprint("tenants", filter, list(orders), as_of)
    return await keyset.page(reads, query, keys, request, mark, TENANTS.row)


async def count(reads: Reads, filter: TenantFilter = NO_FILTER, as_of: Moment | None = None) -> int:
    """How many tenants the filter lets through. Raises BadInput."""
    query, _ = _filtered(filter, as_of)
    return await keyset.count(reads, query)


def _filtered(filter: TenantFilter, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """The query without order or limit, and the columns that it reads."""
    query, row = list_as_of(TABLE, HISTORY, as_of)
    return query.where(*_conditions(filter, row)), row


def _conditions(filter: TenantFilter, row: Columns) -> Iterator[sa.ColumnElement[bool]]:
    if filter.ids is not None:
        yield is_among(row.id, filter.ids)
    if filter.name is not None:
        yield row.name_key == normalise(filter.name)
    if filter.status is not None:
        yield row.status == filter.status
    if filter.search is not None:
        yield contains(row.name_key, normalise(filter.search))
