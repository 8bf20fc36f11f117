"""Lists of users as of a moment who were not active then: few among all, so that to go through all would be to look in vain.

The twin's rows that are not of active users have indexes of their own, by status. They lead in the order of creation or of
usernames through all spans of a status, of which those that held the moment are taken: some in vain, but most users never had
one. For another order all of those are sorted. A page is merged from a page of each status.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.user import UserStatus
from app.eventstore.moment import Moment
from projections.asof import Columns, begun_by, true_at


def indexes() -> tuple[sa.Index, ...]:
    """Those that the users' twin needs."""
    return tuple(map(index, (("created_at",), ("username_key",), ("tenant_id", "created_at"))))


def index(order: Sequence[str]) -> sa.Index:
    """Of the rows of users who are not active, by status and then in that order."""
    return sa.Index(None, "status", *order, "id", postgresql_where=not_active(sa.column("status")))


def not_active(status: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """What PostgreSQL must see of a query's statuses, besides which they are, to use such an index."""
    return status != sa.literal_column(f"'{UserStatus.ACTIVE}'")


def each_of(statuses: Collection[UserStatus]) -> sa.FromClause:
    """What `rows_at` has a page of for each of its rows."""
    array = sa.bindparam(None, sorted(statuses), sa.ARRAY(sa.Text))
    return sa.func.unnest(array).table_valued(sa.column("status", sa.Text), name="statuses").render_derived()


def rows_at(
    statuses: sa.FromClause, first: str, table: sa.Table, history: sa.Table, as_of: Moment
) -> tuple[sa.Select[Any], Columns]:
    """A query of the users as they were at the moment who had one of the statuses, and the columns that it reads.

    It is made for a list that is ordered by the column `first`. Raises BadInput for a moment that is a version of one stream.
    """
    row = history.c
    query = sa.select(*(row[column.name] for column in table.c))
    query = query.where(row.status == statuses.c.status, *true_at(history, as_of))
    if first == "username_key":  # the index in that order has no use for the time of creation
        return query, row
    return query.where(begun_by(row.created_at, as_of)), row
