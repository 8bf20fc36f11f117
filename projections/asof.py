"""Now or then: which table answers, and which of its rows were true at that moment."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from app.errors import BadInput
from app.eventstore.moment import Moment

Columns: TypeAlias = ReadOnlyColumnCollection[str, sa.Column[Any]]

NEXT_WATERMARK = sa.text(
    "coalesce((SELECT mark.latest FROM es.watermarks mark WHERE mark.position >= :position"
    " ORDER BY mark.position LIMIT 1), 'infinity')"
)
"""As text, because SQLAlchemy takes longer to compose it than PostgreSQL to answer."""


def list_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """The same as `rows_as_of`, for lists: an index by a time need not be read from an end that was not there yet.

    What was true was created before, and began before. That follows from the rest, and changes no answer.
    """
    query, row = rows_as_of(table, history, as_of)
    if as_of is None:
        return query, row
    times = (row.created_at,) if as_of.position is None else (row.created_at, row.valid_from)
    return query.where(*(time <= _latest(as_of) for time in times)), row


def rows_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """A query of all rows of the table, as they are or as its twin has them for the moment, and the columns that it reads.

    Raises BadInput for a moment that is a version of one stream.
    """
    source, true_then = (table, ()) if as_of is None else (history, true_at(history, as_of))
    return _all_rows(table, source).where(*true_then), source.c


@cache
def _all_rows(table: sa.Table, source: sa.Table) -> sa.Select[Any]:
    """The table's columns of all rows of the source; made once, which spares each list 20 us."""
    return sa.select(*(source.c[column.name] for column in table.c))


def true_at(history: sa.Table, as_of: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    """What the rows of a temporal twin meet that were true at the moment. Raises BadInput for a version."""
    row = history.columns
    return spans_at(Span(row.from_position, row.to_position, row.valid_from, row.valid_to), as_of)


class Span(NamedTuple):
    """The columns that say for how long a row was true: including the start and not the end, which the present has none of."""

    from_position: sa.Column[int]
    to_position: sa.Column[int]
    since: sa.Column[datetime]
    until: sa.Column[datetime]


def spans_at(span: Span, as_of: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    """What the spans meet that hold the moment. Raises BadInput for a version."""
    if as_of.position is not None:
        return span.from_position <= as_of.position, span.to_position.is_(None) | (span.to_position > as_of.position)
    if as_of.timestamp is not None:
        return span.since <= as_of.timestamp, span.until.is_(None) | (span.until > as_of.timestamp)
    raise BadInput("asOf", "takes a position or a timestamp; a version is one of a single stream")


def _latest(as_of: Moment) -> Any:
    """A time after which nothing occurred by that moment, which is a position or a timestamp.

    For a position it is that of the next watermark; behind the newest there is little to be passed over.
    """
    if as_of.position is None:
        return as_of.timestamp
    return NEXT_WATERMARK.bindparams(sa.bindparam("position", as_of.position, sa.BigInteger, unique=True))
