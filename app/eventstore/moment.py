"""A moment in the history of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TypeVar

import msgspec

from app.errors import BadInput, VersionPastEnd

T = TypeVar("T", int, date, datetime)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of: just after a version of the stream, a position of the log, or all that occurred by a timestamp."""

    version: int | None = None
    position: int | None = None
    timestamp: datetime | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadInput("moment", f"takes exactly one of version, position and timestamp, not {' and '.join(given) or 'none'}")
        if self.version is not None and self.version < 0:
            raise BadInput("version", f"counts from 1, with 0 for before the first event; {self.version} is no version")
        if self.position is not None and self.position < 0:
            raise BadInput("position", f"counts from 1, with 0 for before the first event; {self.position} is no position")
        if self.timestamp is not None and self.timestamp.utcoffset() is None:
            raise BadInput("timestamp", f"needs an offset, such as Z or +02:00; {self.timestamp.isoformat()} has none")

    def check_reached(self, argument: str, head: int) -> None:
        """Raises BadInput for a position that a log which ends at `head` has not reached."""
        if self.position is not None and self.position > head:
            rule = f"{self.position} is past the end of the log, whose last position is {head}"
            raise BadInput(f"{argument}.position", rule)


@contextmanager
def named_by(argument: str) -> Iterator[None]:
    """Lets a version past the end be told as one that the argument named."""
    try:
        yield
    except VersionPastEnd as error:
        raise error.of(argument) from error


def check_span(first: str, since: T | None, last: str, until: T | None) -> None:
    """Raises BadInput for a span that ends before it starts; it may be open. `first` and `last` are the arguments' names."""
    if since is not None and until is not None and since > until:
        raise BadInput(first, f"is after `{last}`: the one is {since}, the other {until}")
