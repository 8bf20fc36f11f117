"""Now or then: which table answers, and which of its rows were true at that moment."""

from __future__ import annotations

from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from app.errors import BadInput
from app.eventstore.moment import Moment

Columns: TypeAlias = ReadOnlyColumnCollection[str, sa.Column[Any]]


def rows_as_of(table: sa.Table, history: sa.Table, as_of: Moment | None) -> tuple[sa.Select[Any], Columns]:
    """A query of all rows of the table, as they are or as its twin has them for the moment, and the columns that it reads.

    Raises BadInput for a moment that is a version of one stream.
    """
    source, true_then = (table, ()) if as_of is None else (history, true_at(history, as_of))
    return sa.select(*(source.c[column.name] for column in table.c)).where(*true_then), source.c


def true_at(history: sa.Table, as_of: Moment) -> tuple[sa.ColumnElement[bool], ...]:
    """What the rows of a temporal twin meet that were true at the moment. Raises BadInput for a version."""
    row = history.columns
    if as_of.position is not None:
        return row.from_position <= as_of.position, row.to_position.is_(None) | (row.to_position > as_of.position)
    if as_of.timestamp is not None:
        was_true = row.valid_from <= as_of.timestamp, row.valid_to.is_(None) | (row.valid_to > as_of.timestamp)
        # What was true was created before; said so, an index by creation need not be read from its newest end.
        return (*was_true, row.created_at <= as_of.timestamp) if "created_at" in row else was_true
    raise BadInput("asOf", "takes a position or a timestamp; a version is one of a single stream")
