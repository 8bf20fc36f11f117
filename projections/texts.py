"""Conditions on a part of a text, in forms that an index can answer."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

LAST_CHARACTER = "\U0010ffff"


def begins_with(column: sa.Column[str], prefix: str) -> Iterator[sa.ColumnElement[bool]]:
    """For a column in bytewise order: a range, which an index answers whether or not the plan knows the prefix."""
    yield column >= prefix
    yield column < prefix + LAST_CHARACTER


def contains(column: sa.Column[str], part: str) -> sa.ColumnElement[bool]:
    """For a column with a trigram index. The part is taken literally."""
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(f"%{escaped}%")
