"""Now or then: which table answers, and which of its rows were true at that moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.base import ColumnCollection

from app.errors import BadInput
from app.eventstore.moment import Moment
from app.eventstore.watermarks import last_by, latest_by
from projections.projection import TIME

Columns: TypeAlias = ColumnCollection[str, Any]

RowsAsOf: TypeAlias = Callable[[sa.Table, sa.Table, Moment | None], tuple[sa.Select[Any], Columns]]
"""`list_as_of`, or what has the same rows in another order."""

NEVER_CHANGING = ("id", "tenant_id", "created_at", "username_key")
"""What a row has from its first version on."""

By: TypeAlias = sa.BindParameter[Any]
"""By what a moment is given: `POSITION` or `TIMESTAMP`."""

POSITION: By = sa.bindparam("position", type_=sa.BigInteger)
TIMESTAMP: By = sa.bindparam("timestamp", type_=TIME)

# As text, because SQLAlchemy takes longer to compose them than PostgreSQL to answer.
LATEST_BY_POSITION = sa.text(latest_by(":position"))
LAST_BY_TIMESTAMP = sa.text(last_by(":timestamp"))


def list_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """A query of all rows of the table, as they are or as they were at the moment, and the columns that it reads.

    Whatever was there then is there now, as old, of the same tenant and by the same username. So the table of now is gone
    through, by its own indexes, and for each of its rows the version of that moment is looked up: the twin needs no index.
    Raises BadInput for a moment that is a version of one stream.
    """
    if as_of is None:
        return _all_rows(table), table.c
    by, moment = given_by(as_of)
    query, row = _all_versions(table, history, by)
    return query.params({by.key: moment}), row


@cache
def _all_rows(table: sa.Table) -> sa.Select[Any]:
    """Made once, which spares each list 20 us."""
    return sa.select(table)


@cache
def _all_versions(table: sa.Table, history: sa.Table, by: By) -> tuple[sa.Select[Any], Columns]:
    """Made once for each way to give a moment, which spares each list a millisecond."""
    known = {name: table.c[name] for name in NEVER_CHANGING if name in table.c}
    latest = LATEST_BY_POSITION if by is POSITION else TIMESTAMP
    query = versions(table, history, by, table, known).where(table.c.created_at <= latest)
    return query, query.selected_columns


def versions(
    table: sa.Table, history: sa.Table, by: By, source: sa.FromClause, known: Mapping[str, sa.ColumnElement[Any]]
) -> sa.Select[Any]:
    """The versions at the moment of the rows whose `id` the source has, with all columns that the table has.

    What else is `known` at the source is read there, so that the source's indexes order and find it.
    """
    past = version_at(history, known["id"], by)
    columns = (known.get(column.name, past.c[column.name]) for column in table.c)
    return sa.select(*columns).select_from(source.join(past, sa.true()))


@cache
def version_at(history: sa.Table, id: sa.ColumnElement[Any], by: By) -> sa.FromClause:
    """For a join without a condition: the version of the row with that id that was true at the moment.

    It is the last that had begun: within a stream neither positions nor times run backwards.
    """
    row = history.c
    if by is POSITION:
        begun = row.from_position <= POSITION
    else:  # the last position changes no answer; without it all versions since would be read, to be passed over
        begun = sa.and_(row.valid_from <= TIMESTAMP, row.from_position <= LAST_BY_TIMESTAMP)
    versions = sa.select(history).where(row.id == id, begun).order_by(row.from_position.desc())
    return versions.limit(sa.literal_column("1")).lateral("past")


def given_by(as_of: Moment) -> tuple[By, Any]:
    """The parameter of a query that the moment goes into, and its value. Raises BadInput for a version."""
    return (TIMESTAMP, _timestamp(as_of)) if as_of.position is None else (POSITION, as_of.position)


def rows_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """The same rows as `list_as_of`, found by the twin's own indexes. Raises BadInput for a version."""
    if as_of is None:
        return _all_rows(table), table.c
    return _all_spans(table, history).where(*true_at(history, as_of)), history.c


@cache
def _all_spans(table: sa.Table, history: sa.Table) -> sa.Select[Any]:
    return sa.select(*(history.c[column.name] for column in table.c))


def true_at(history: sa.Table, as_of: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    """What the rows of a temporal twin meet that were true at the moment. Raises BadInput for a version."""
    row = history.columns
    return spans_at(Span(row.from_position, row.to_position, row.valid_from, row.valid_to), as_of)


class Span(NamedTuple):
    """The columns that say for how long a row was true: including the start and not the end, which the present has none of."""

    from_position: sa.ColumnElement[int]
    to_position: sa.ColumnElement[int]
    since: sa.ColumnElement[datetime]
    until: sa.ColumnElement[datetime]


def spans_at(span: Span, as_of: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    """What the spans meet that hold the moment. Raises BadInput for a version."""
    if as_of.position is not None:
        holds = span.from_position <= as_of.position, span.to_position.is_(None) | (span.to_position > as_of.position)
        # Changes no answer: in an index by the time of their start, later spans need not be looked at.
        return *holds, begun_by(span.since, as_of)
    return begun_by(span.since, as_of), span.until.is_(None) | (span.until > as_of.timestamp)


def begun_by(since: sa.ColumnElement[datetime], as_of: Moment) -> sa.ColumnElement[bool]:
    """What the time meets since when something was, if that had begun by the moment. Raises BadInput for a version."""
    if as_of.position is None:
        return since <= _timestamp(as_of)
    return since <= LATEST_BY_POSITION.bindparams(sa.bindparam(POSITION.key, as_of.position, POSITION.type, unique=True))


def _timestamp(as_of: Moment) -> datetime:
    if as_of.timestamp is None:
        raise BadInput("asOf", "takes a position or a timestamp; a version is one of a single stream")
    return as_of.timestamp
