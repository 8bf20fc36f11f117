"""The read model of users: as they are, and as they were at any moment."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import cache, lru_cache, partial
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from app.domain.aggregate import Stream
from app.domain.names import normalise
from app.domain.user import USER, User, UserStatus
from app.errors import BadInput
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from projections import by_change, by_status, keyset, lookup, role_members, roles, user_names
from projections.asof import Columns, RowsAsOf, given_by, list_as_of, spans_at, versions
from projections.keyset import By
from projections.lookup import is_among
from projections.projection import BYTEWISE, READ, TIME, AggregateProjection, Derived, required, stream_columns, twin
from projections.texts import begins_with, contains

DEEPEST = 3
"""How deep conditions may be nested."""
KEPT = 500
"""Pages whose statements are kept."""
LONGEST_KEPT = 2_000
"""Characters that spell a page which is kept, so that nobody fills the memory with long lists of ids."""

# Table

TABLE = sa.Table(
    "users",
    READ,
    *stream_columns(),
    required("username", sa.Text()),
    required("email", sa.Text()),
    sa.Column("full_name", sa.Text),
    sa.Column("phone", sa.Text),
    required("role_ids", postgresql.ARRAY(sa.Uuid())),
    required("locked", sa.Boolean()),
    sa.Column("locked_until", TIME),
    sa.Column("lock_reason", sa.Text),
    required("login_attempts", sa.Integer()),
    sa.Column("last_login_at", TIME),
    sa.Column("password_changed_at", TIME),
    required("created_at", TIME),
    required("updated_at", TIME),
    sa.Column("deleted_at", TIME),
    required("status", sa.Text()),
    required("username_key", BYTEWISE),
    required("email_key", BYTEWISE),
    *(sa.Index(None, *("tenant_id", key, "id")) for key in ("created_at", "username_key", "email_key")),
    *(sa.Index(None, *(key, "id")) for key in ("created_at", "username_key", "email_key")),
    by_status.index(("tenant_id", "created_at")),
    sa.Index(None, "role_ids", postgresql_using="gin"),
    postgresql_with={"fillfactor": 80},
)

HISTORY = twin(TABLE, *by_change.indexes(TABLE), *by_status.indexes())

# Fold

DERIVED = {
    "status": Derived(("locked", "deleted_at")),
    "username_key": Derived(("username",)),
    "email_key": Derived(("email",)),
}

USERS = AggregateProjection("users", USER, User, TABLE, HISTORY, DERIVED)

# Queries


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which users: those that meet every condition given. Names and texts count as the same however they are spelt."""

    ids: tuple[UUID, ...] | None = None
    tenant_id: UUID | None = None
    username: str | None = None
    username_prefix: str | None = None
    email: str | None = None
    status: UserStatus | None = None
    role_id: UUID | None = None
    role_name: str | None = None
    """Users with any role that has this name at the moment asked about."""
    created_after: datetime | None = None
    """At this moment or later."""
    created_before: datetime | None = None
    """Before this moment."""
    search: str | None = None
    """Part of the username, e-mail address or full name."""
    include_deleted: bool = False
    """Deleted users are left out unless this, or a status anywhere in the filter, asks for them."""
    and_: tuple[UserFilter, ...] = ()
    or_: tuple[UserFilter, ...] = ()
    not_: UserFilter | None = None


class UserOrderField(enum.Enum):
    """What users can be ordered by; the value is the column."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    USERNAME = "username_key"
    EMAIL = "email_key"


class UserOrder(msgspec.Struct, frozen=True):
    """One key of an order."""

    field: UserOrderField
    descending: bool = False


ADDRESSES = user_names.TABLE.alias("addresses")
NO_FILTER = UserFilter()
OLDEST_FIRST = (UserOrder(UserOrderField.CREATED_AT),)
FIRST_PAGE = PageRequest()


async def by_id(reads: Reads, id: UUID, as_of: Moment | None = None) -> Stream[User] | None:
    """The user, deleted or not; None if there is or was none."""
    return await lookup.by_id(reads, USERS, id, as_of)


async def by_ids(reads: Reads, ids: Collection[UUID], as_of: Moment | None = None) -> dict[UUID, Stream[User]]:
    """Those of the users that exist or existed, deleted ones too."""
    return await lookup.by_ids(reads, USERS, ids, as_of)


async def by_username(
    reads: Reads, username: str, tenant_id: UUID | None = None, as_of: Moment | None = None
) -> Stream[User] | None:
    """The user who has that name and is not deleted. Raises BadInput when that is one in each of several tenants."""
    query, _ = filtered(UserFilter(username=username, tenant_id=tenant_id), as_of)
    found = await reads.fetch(query.limit(2))
    if len(found) > 1:
        raise BadInput("tenantId", f"is needed: several tenants have a user {username!r}")
    return USERS.row(found[0]) if found else None


async def page(
    reads: Reads,
    filter: UserFilter = NO_FILTER,
    orders: Sequence[UserOrder] = OLDEST_FIRST,
    as_of: Moment | None = None,
    request: PageRequest = FIRST_PAGE,
) -> Page[Stream[User]]:
    """One page of the users that the filter lets through. Raises BadInput."""
    statement, cursor = _listing(None, filter, tuple(orders), as_of, request, reads.walled)
    return request.page(await reads.fetch(statement), USERS.row, cursor)


async def rows(
    reads: Reads,
    columns: Collection[str],
    filter: UserFilter = NO_FILTER,
    orders: Sequence[UserOrder] = OLDEST_FIRST,
    as_of: Moment | None = None,
    request: PageRequest = FIRST_PAGE,
) -> Page[asyncpg.Record]:
    """The same page, but of rows with these columns and those that order them: most of a user's are seldom asked for."""
    statement, cursor = _listing(frozenset(columns), filter, tuple(orders), as_of, request, reads.walled)
    return request.page(await reads.fetch(statement), lambda row: row, cursor)


Listing: TypeAlias = tuple[sa.Select[Any], Callable[[asyncpg.Record], str]]
"""The statement of a page, and what makes the cursors of its rows."""


def _listing(*asked: Any) -> Listing:
    """As `_composed`; those that were asked for lately are kept, for to compose one takes longer than to answer it."""
    return (_kept if len(repr(asked)) <= LONGEST_KEPT else _composed)(*asked)


def _composed(
    columns: frozenset[str] | None,
    filter: UserFilter,
    orders: Sequence[UserOrder],
    as_of: Moment | None,
    request: PageRequest,
    walled: bool,
) -> Listing:
    """With these columns and those that order the rows; with all when none are told. Raises BadInput."""
    source, each = _source(filter, orders[0].field, as_of, walled)
    query, row = filtered(filter, as_of, source)
    keys = keyset.total_order([By(row[order.field.value], order.descending) for order in orders], row.id)
    if columns is not None:
        read = {*columns, *(by.column.name for by in keys)}
        query = query.with_only_columns(*(column for column in query.selected_columns if column.name in read))
    mark = fingerprint("users", filter, list(orders), as_of)
    return keyset.statement(query, keys, request, mark, each), partial(keyset.cursor, keys, mark)


_kept = lru_cache(KEPT)(_composed)


def _source(
    filter: UserFilter, first: UserOrderField, as_of: Moment | None, walled: bool
) -> tuple[RowsAsOf, sa.FromClause | None]:
    """What has the rows for a list that is first ordered so, and what the statement merges pages of each of, if anything."""
    if as_of is not None and _asks_for_no_active(filter) and not _finds_few(filter):
        statuses = by_status.each_of(_statuses(filter))
        return partial(by_status.rows_at, statuses, first.value), statuses
    if first is UserOrderField.EMAIL:
        return _by_email_as_of, None
    if first is not UserOrderField.UPDATED_AT or walled:  # row-level security forbids the use of an index by octaves
        return list_as_of, None
    if as_of is None:
        return by_change.rows_now, None
    if _finds_few(filter):
        return list_as_of, None
    octaves = by_change.octaves_at(as_of)
    return partial(by_change.rows_at, octaves), octaves


def _by_email_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """As `list_as_of`, through the addresses of that moment, which are in no order in the table of now."""
    if as_of is None:
        return list_as_of(table, history, as_of)
    by, moment = given_by(as_of)
    query, row = _by_email(by)
    return query.where(*spans_at(user_names.span_of(ADDRESSES), as_of)).params({by.key: moment}), row


@cache
def _by_email(by: sa.BindParameter[Any]) -> tuple[sa.Select[Any], Columns]:
    names = ADDRESSES.c
    known = {"id": names.user_id.label("id"), "tenant_id": names.tenant_id, "email_key": names.email_key}
    query = versions(TABLE, HISTORY, by, ADDRESSES, known)
    return query, query.selected_columns


async def count(reads: Reads, filter: UserFilter = NO_FILTER, as_of: Moment | None = None) -> int:
    """How many users the filter lets through. Raises BadInput."""
    source, _ = _source(filter, UserOrderField.CREATED_AT, as_of, reads.walled)
    query, _ = filtered(filter, as_of, source)
    return await keyset.count(reads, query)


def filtered(filter: UserFilter, as_of: Moment | None, source: RowsAsOf = list_as_of) -> tuple[sa.Select[Any], Columns]:
    """The query without order or limit, and the columns that it reads. Raises BadInput."""
    if _depth(filter) > DEEPEST:
        raise BadInput("filter", f"nests and, or and not deeper than {DEEPEST}")
    query, row = source(TABLE, HISTORY, as_of)
    query = query.where(*_conditions(filter, row, as_of))
    if _asks_for_no_active(filter):  # which follows from the conditions
        query = query.where(by_status.not_active(row.status))
    return (query if _asks_for_deleted(filter) else query.where(row.deleted_at.is_(None))), row


def _conditions(filter: UserFilter, row: Columns, as_of: Moment | None) -> Iterator[sa.ColumnElement[bool]]:
    if filter.ids is not None:
        yield is_among(row.id, filter.ids)
    if filter.tenant_id is not None:
        yield row.tenant_id == filter.tenant_id
    yield from _with_names(filter, row, as_of)
    if filter.status is not None:
        yield row.status == filter.status
    yield from _with_roles(filter, row, as_of)
    if filter.created_after is not None:
        yield row.created_at >= filter.created_after
    if filter.created_before is not None:
        yield row.created_at < filter.created_before
    yield from _combined(filter, row, as_of)


def _with_names(filter: UserFilter, row: Columns, as_of: Moment | None) -> Iterator[sa.ColumnElement[bool]]:
    """By what users are called. What a past row has is in no index, but its spans are, in the read model of names."""
    names = user_names.TABLE.c
    if filter.username is not None:
        yield row.username_key == normalise(filter.username)
    if filter.username_prefix is not None:
        yield from begins_with(row.username_key, normalise(filter.username_prefix))
    if filter.email is not None:
        email_key = normalise(filter.email)
        yield row.email_key == email_key if as_of is None else user_names.called(row.id, as_of, names.email_key == email_key)
    if filter.search is not None:
        yield user_names.called(row.id, as_of, contains(names.search_text, normalise(filter.search)))


def _with_roles(filter: UserFilter, row: Columns, as_of: Moment | None) -> Iterator[sa.ColumnElement[bool]]:
    """By the roles of the row now. Those of a past row are in no index, but their spans are, in the read model of members."""
    named = None if filter.role_name is None else roles.ids_named(filter.role_name, as_of)
    if as_of is None:
        if filter.role_id is not None:
            yield row.role_ids.contains([filter.role_id])
        if named is not None:
            yield row.role_ids.overlap(sa.func.array(named))
    else:
        if filter.role_id is not None:
            yield row.id.in_(role_members.holders(sa.literal([filter.role_id], sa.ARRAY(sa.Uuid)), as_of))
        if named is not None:
            yield row.id.in_(role_members.holders(sa.func.array(named), as_of))


def _combined(filter: UserFilter, row: Columns, as_of: Moment | None) -> Iterator[sa.ColumnElement[bool]]:
    for each in filter.and_:
        yield _all(each, row, as_of)
    if filter.or_:
        yield sa.or_(*(_all(each, row, as_of) for each in filter.or_))
    if filter.not_ is not None:
        yield sa.not_(_all(filter.not_, row, as_of))


def _all(filter: UserFilter, row: Columns, as_of: Moment | None) -> sa.ColumnElement[bool]:
    return sa.and_(sa.true(), *_conditions(filter, row, as_of))


def _nested(filter: UserFilter) -> list[UserFilter]:
    return [*filter.and_, *filter.or_, *([filter.not_] if filter.not_ else [])]


def _depth(filter: UserFilter) -> int:
    return max((1 + _depth(each) for each in _nested(filter)), default=0)


def _finds_few(filter: UserFilter) -> bool:
    """Whether users are looked for by something of which an index finds them, whatever the order."""
    by = (filter.ids, filter.username, filter.username_prefix, filter.email, filter.role_id, filter.role_name, filter.search)
    return any(each is not None for each in by) or any(map(_finds_few, filter.and_))


def _asks_for_no_active(filter: UserFilter) -> bool:
    return UserStatus.ACTIVE not in _statuses(filter)


def _statuses(filter: UserFilter) -> frozenset[UserStatus]:
    """Those of which every user that the filter lets through has one."""
    statuses = frozenset(UserStatus if filter.status is None else [filter.status]).intersection(*map(_statuses, filter.and_))
    if filter.or_:
        statuses &= frozenset().union(*map(_statuses, filter.or_))
    if filter.not_ and filter.not_.status and filter.not_ == UserFilter(status=filter.not_.status):
        statuses -= {filter.not_.status}
    return statuses


def _asks_for_deleted(filter: UserFilter) -> bool:
    return filter.include_deleted or filter.status is not None or any(map(_asks_for_deleted, _nested(filter)))
