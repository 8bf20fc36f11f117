"""Lists in the order of the last change, now and at any moment.

A row last changed where its span in the twin began. But of all the spans that had begun by a moment most had ended as well: an
index by the start alone would lead through all of those to the few that held it. So spans are kept apart by the octave of the
seconds that they lasted. Of those that lasted from 2^n to 2^(n+1), what held a moment began within 2^(n+1) before it, and what
began within 2^n before held it: few are read in vain. There are 34 octaves, and one more for the spans that go on; a page is
merged from a page of each.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.eventstore.moment import Moment
from app.eventstore.watermarks import earliest_after
from projections.asof import Columns, Span, spans_at
from projections.projection import TIME

GOES_ON = 34
"""The octave of the spans that have no end, and of those that lasted longer than 544 years."""

OCTAVE = f"least(trunc(log(1 + date_part('epoch', {{0}}valid_to - {{0}}updated_at)) / log(2::float8)), {GOES_ON})"
"""Of a row of a twin, whose span began with the change that its `updated_at` tells of."""

OCTAVES = f"""
    SELECT octave::float8 AS octave,
        CASE octave WHEN {GOES_ON} THEN '-infinity' ELSE ended - make_interval(secs => 2 ^ (octave + 1)) END AS after
    FROM generate_series(0, {GOES_ON}) octave, (SELECT CAST({{0}} AS timestamptz)) AS first (ended)
"""
"""After which time the spans of each octave began that ended at a time or later."""

OF_TIMESTAMP = sa.text(OCTAVES.format(":timestamp"))
OF_POSITION = sa.text(OCTAVES.format(earliest_after(":position")))

FROM_THE_TWIN = ("id", "tenant_id", "updated_at")
"""What orders and narrows a list of now."""


def indexes(table: sa.Table) -> tuple[sa.Index, ...]:
    """Those that the table's twin needs."""
    octave, name = sa.text(f"({OCTAVE.format('')})"), f"{table.name}_history"
    return (
        sa.Index(f"{name}_octave_updated_at_id_idx", octave, "updated_at", "id"),
        sa.Index(f"{name}_tenant_id_octave_updated_at_id_idx", "tenant_id", octave, "updated_at", "id"),
    )


def rows_now(table: sa.Table, history: sa.Table, _as_of: Moment | None = None) -> tuple[sa.Select[Any], Columns]:
    """A query of all rows of the table, to be ordered by last change, and the columns that it reads.

    The order is that of the spans that go on. The table has no index of it, so that a change which touches nothing else by
    which rows are found leaves all its indexes as they are.
    """
    then, now = history.c, table.c
    columns = [(history if column.name in FROM_THE_TWIN else table).c[column.name] for column in now]
    query = sa.select(*columns).select_from(table.join(history, then.id == now.id))
    return query.where(_octave(history) == GOES_ON, then.valid_to.is_(None)), query.selected_columns


def octaves_at(as_of: Moment) -> sa.FromClause:
    """What `rows_at` has a page of for each of its rows."""
    if as_of.position is None:
        of = OF_TIMESTAMP.bindparams(sa.bindparam("timestamp", as_of.timestamp, TIME, unique=True))
    else:
        of = OF_POSITION.bindparams(sa.bindparam("position", as_of.position, sa.BigInteger, unique=True))
    return of.columns(sa.column("octave", sa.Float), sa.column("after", TIME)).subquery("octaves")


def rows_at(octaves: sa.FromClause, table: sa.Table, history: sa.Table, as_of: Moment) -> tuple[sa.Select[Any], Columns]:
    """A query of the rows as they were at the moment, of one of the octaves, and the columns that it reads.

    Raises BadInput for a moment that is a version of one stream.
    """
    row = history.c
    span = Span(row.from_position, row.to_position, row.updated_at, row.valid_to)
    query = sa.select(*(row[column.name] for column in table.c)).where(*spans_at(span, as_of))
    return query.where(_octave(history) == octaves.c.octave, row.updated_at > octaves.c.after), row


def _octave(history: sa.Table) -> sa.ColumnElement[float]:
    return sa.literal_column(OCTAVE.format(f"{history.name}."), sa.Float)
