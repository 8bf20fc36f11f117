"""The read model of roles: as they are, and as they were at any moment."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from app.domain.aggregate import Stream
from app.domain.names import normalise
from app.domain.role import ROLE, Role
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from projections import keyset, lookup
from projections.asof import Columns, list_as_of, rows_as_of
from projections.keyset import By
from projections.lookup import is_among
from projections.projection import BYTEWISE, READ, TIME, AggregateProjection, Derived, required, stream_columns, twin

# Table

TABLE = sa.Table(
    "roles",
    READ,
    *stream_columns(),
    required("name", sa.Text()),
    required("permissions", postgresql.ARRAY(sa.Text())),
    required("created_at", TIME),
    required("updated_at", TIME),
    sa.Column("retired_at", TIME),
    required("name_key", BYTEWISE),
    *(sa.Index(None, *("tenant_id", key, "id")) for key in ("created_at", "name_key")),
    *(sa.Index(None, *(key, "id")) for key in ("created_at", "name_key")),
)

HISTORY = twin(TABLE, sa.Index(None, "name_key", "id", "valid_from"))

# Fold

ROLES = AggregateProjection("roles", ROLE, Role, TABLE, HISTORY, {"name_key": Derived(("name",))})

# Queries


class RoleFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which roles: those that meet every condition given. Names count as the same however they are spelt."""

    ids: tuple[UUID, ...] | None = None
    tenant_id: UUID | None = None
    name: str | None = None
    permission: str | None = None
    """Roles that permit this."""
    include_retired: bool = False
    """Retired roles are left out unless this asks for them."""


class RoleOrderField(enum.Enum):
    """What roles can be ordered by; the value is the column."""

    CREATED_AT = "created_at"
    NAME = "name_key"


class RoleOrder(msgspec.Struct, frozen=True):
    """One key of an order."""

    field: RoleOrderField
    descending: bool = False


NO_FILTER = RoleFilter()
BY_NAME = (RoleOrder(RoleOrderField.NAME),)
FIRST_PAGE = PageRequest()


async def by_id(reads: Reads, id: UUID, as_of: Moment | None = None) -> Stream[Role] | None:
    """The role, retired or not; None if there is or was none."""
    return await lookup.by_id(reads, ROLES, id, as_of)


async def by_ids(reads: Reads, ids: Collection[UUID], as_of: Moment | None = None) -> dict[UUID, Stream[Role]]:
    """Those of the roles that exist or existed, retired ones too."""
    return await lookup.by_ids(reads, ROLES, ids, as_of)


def ids_named(name: str, as_of: Moment | None) -> sa.ScalarSelect[UUID]:
    """For a condition of another query: the roles, of any tenant and retired ones too, that have or had the name."""
    query, row = rows_as_of(TABLE, HISTORY, as_of)
    return query.with_only_columns(row.id).where(row.name_key == normalise(name)).scalar_subquery()


async def page(
    reads: Reads,
    filter: RoleFilter = NO_FILTER,
    orders: Sequence[RoleOrder] = BY_NAME,
    as_of: Moment | None = None,
    request: PageRequest = FIRST_PAGE,
) -> Page[Stream[Role]]:
    """One page of the roles that the filter lets through. Raises BadInput."""
    query, row = _filtered(filter, as_of)
    keys = keyset.total_order([By(row[order.field.value], order.descending) for order in orders], row.id)
    mark = fingerprint("roles", filter, list(orders), as_of)
    return await keyset.page(reads, query, keys, request, mark, ROLES.row)


async def count(reads: Reads, filter: RoleFilter = NO_FILTER, as_of: Moment | None = None) -> int:
    """How many roles the filter lets through. Raises BadInput."""
    query, _ = _filtered(filter, as_of)
    return await keyset.count(reads, query)


def _filtered(filter: RoleFilter, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """The query without order or limit, and the columns that it reads."""
    query, row = list_as_of(TABLE, HISTORY, as_of)
    return query.where(*_conditions(filter, row)), row


def _conditions(filter: RoleFilter, row: Columns) -> Iterator[sa.ColumnElement[bool]]:
    if filter.ids is not None:
        yield is_among(row.id, filter.ids)
    if filter.tenant_id is not None:
        yield row.tenant_id == filter.tenant_id
    if filter.name is not None:
        yield row.name_key == normalise(filter.name)
    if filter.permission is not None:
        yield row.permissions.contains([filter.permission])
    if not filter.include_retired:
        yield row.retired_at.is_(None)
