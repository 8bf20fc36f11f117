"""Scalars: how times and positions are written in answers and read from requests."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any, NewType

import orjson
import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

Position = NewType("Position", int)

# The largest integer that a JavaScript client reads without loss.
LAST_POSITION = 2**53 - 1

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(?P<offset>[Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def in_utc(value: datetime) -> datetime:
    """The same moment in UTC."""
    return value if value.tzinfo is UTC else value.astimezone(UTC)


def to_json(answer: Any) -> bytes:
    """JSON, with times in RFC 3339, such as 2026-03-01T12:00:00Z; microseconds only when there are some."""
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def read_time(value: Any) -> datetime:
    """The moment that an RFC 3339 text names. Raises GraphQLError with the rule that it breaks."""
    match = RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise GraphQLError("a time is an RFC 3339 text, such as 2026-03-01T12:00:00Z")
    if match["offset"] is None:
        raise GraphQLError("a time needs an offset from UTC, such as Z or +02:00")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise GraphQLError(f"there is no such time: {error}") from None


def read_position(value: Any) -> Position:
    """A place in the log, or 0 for before the first event. Raises GraphQLError with the rule that it breaks."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_POSITION:
        raise GraphQLError(f"a position is an integer from 0 to {LAST_POSITION}")
    return Position(value)


def read_date(value: Any) -> date:
    """The day that a text such as 2026-03-01 names. Raises GraphQLError with the rule that it breaks."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise GraphQLError("a date is a text such as 2026-03-01") from None


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment: RFC 3339 with an offset from UTC, such as `2026-03-01T12:00:00Z` or "
        "`2026-03-01T13:00:00.5+01:00`. Answers are in UTC.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=in_utc,
        parse_value=read_time,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A day in UTC, such as `2026-03-01`.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=date.isoformat,
        parse_value=read_date,
    ),
    Position: strawberry.scalar(
        name="Position",
        description="A place in the event log: an integer; the first event has position 1, each next one 1 more, without "
        "gaps. 0 is the moment before the first event.",
        serialize=int,
        parse_value=read_position,
    ),
}
