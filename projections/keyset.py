"""Pages of a read table in any order: each begins where the cursor's row ends, however far down the list that is.

The method is the "seek method" of https://use-the-index-luke.com/no-offset, with a direction for each column.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import asyncpg
import sqlalchemy as sa

from app.eventstore.database import Reads
from app.eventstore.paging import Page, PageRequest, decode_cursor, encode_cursor
from projections.asof import Columns

T = TypeVar("T")
V = TypeVar("V")


class By(NamedTuple):
    """A column that the list is ordered by; never null."""

    column: sa.Column[Any]
    descending: bool

    def beyond(self, value: Any, *, backwards: bool) -> sa.ColumnElement[bool]:
        """Whether a row comes after one with this value, or before it when going backwards."""
        further: sa.ColumnElement[bool] = self.column < value if self.descending != backwards else self.column > value
        return further


def total_order(orders: Sequence[By], id: sa.Column[Any]) -> list[By]:
    """The order with the id as the last word, so that no two rows are equal in it; each column counts once, the first time."""
    keys: dict[str, By] = {}
    for by in (*orders, By(id, orders[-1].descending if orders else False)):
        keys.setdefault(by.column.name, by)
    return list(keys.values())


async def page(
    reads: Reads,
    query: sa.Select[Any],
    orders: Sequence[By],
    request: PageRequest,
    mark: str,
    item: Callable[[asyncpg.Record], T],
) -> Page[T]:
    """One page of the query's rows in a total order. `mark` tells its cursors from other queries'. Raises BadInput."""
    rows = await reads.fetch(statement(query, orders, request, mark))
    return request.page(rows, item, partial(cursor, orders, mark))


def statement(
    query: sa.Select[Any], orders: Sequence[By], request: PageRequest, mark: str, each: sa.FromClause | None = None
) -> sa.Select[Any]:
    """The query of a page, and of one row more when the list goes on. Raises BadInput.

    A query that refers to `each` has a page for each of its rows, and the statement merges them.
    """
    types = [by.column.type.python_type for by in orders]
    for argument, text, backwards in (("after", request.after, False), ("before", request.before, True)):
        if text is not None:
            query = query.where(beyond(orders, decode_cursor(argument, text, mark, types), backwards=backwards))
    page = query.order_by(*_directions(orders, request)).limit(request.size + 1)
    if each is None:
        return page
    own = page.lateral("own")
    merged = sa.select(own).join_from(each, own, sa.true())
    return merged.order_by(*_directions(orders, request, own.c)).limit(request.size + 1)


async def first_pages(
    reads: Reads,
    query: sa.Select[Any],
    of: sa.Column[Any],
    values: Sequence[V],
    orders: Sequence[By],
    request: PageRequest,
    mark: Callable[[V], str],
    item: Callable[[asyncpg.Record], T],
) -> Mapping[V, Page[T]]:
    """For each value of the column `of` the page of the rows that have it, in one statement.

    The request has no cursor: one holds for a single value only.
    """
    wanted = sa.func.unnest(_array(of, values)).table_valued(sa.column("value", of.type), name="wanted").render_derived()
    directions = _directions(orders, request)
    place = sa.func.row_number().over(order_by=directions).label("place")
    own = query.add_columns(place).where(of == wanted.c.value).order_by(*directions).limit(request.size + 1).lateral("own")
    rows: dict[V, list[asyncpg.Record]] = defaultdict(list)
    for row in await reads.fetch(sa.select(wanted, own).join_from(wanted, own, sa.true())):
        rows[row["value"]].append(row)
    for of_value in rows.values():
        of_value.sort(key=itemgetter("place"))
    return {value: request.page(rows[value], item, partial(cursor, orders, mark(value))) for value in values}


async def count(reads: Reads, query: sa.Select[Any]) -> int:
    """How many rows the query has."""
    rows: int = await reads.fetchval(query.with_only_columns(sa.func.count(), maintain_column_froms=True))
    return rows


async def counts(reads: Reads, query: sa.Select[Any], of: sa.Column[Any], values: Sequence[V]) -> Mapping[V, int]:
    """How many rows the query has with each value of the column, in one statement."""
    grouped = query.with_only_columns(of, sa.func.count().label("rows")).where(of == sa.any_(_array(of, values))).group_by(of)
    found = {row[of.name]: row["rows"] for row in await reads.fetch(grouped)}
    return {value: found.get(value, 0) for value in values}


def _array(of: sa.Column[Any], values: Sequence[Any]) -> sa.BindParameter[Any]:
    """All of the values as one parameter, so that however many there are the statement is the same."""
    return sa.bindparam(None, list(values), sa.ARRAY(of.type))


def _directions(orders: Sequence[By], request: PageRequest, of: Columns | None = None) -> list[sa.UnaryExpression[Any]]:
    """What to order by, which may be the columns of a subquery instead."""
    columns = [by.column if of is None else of[by.column.name] for by in orders]
    descending = (by.descending != request.from_the_end for by in orders)
    return [column.desc() if down else column.asc() for column, down in zip(columns, descending, strict=True)]


def cursor(orders: Sequence[By], mark: str, row: asyncpg.Record) -> str:
    """The text that tells where in the list a row is."""
    return encode_cursor(mark, [row[by.column.name] for by in orders])


def beyond(orders: Sequence[By], values: Sequence[Any], *, backwards: bool) -> sa.ColumnElement[bool]:
    """Whether a row comes after the one with these values in the order, or before it when going backwards."""
    first, *rest = orders
    if all(by.descending == first.descending for by in rest):
        row = sa.tuple_(*(by.column for by in orders))
        there = sa.tuple_(*(sa.bindparam(None, value, by.column.type) for by, value in zip(orders, values, strict=True)))
        return row < there if first.descending != backwards else row > there
    # A row comparison knows one direction only. The same spelt out, with a first condition that an index can use.
    further = beyond(rest, values[1:], backwards=backwards)
    ahead = first.beyond(values[0], backwards=backwards)
    not_behind = sa.not_(first.beyond(values[0], backwards=not backwards))
    return sa.and_(not_behind, ahead | further)
