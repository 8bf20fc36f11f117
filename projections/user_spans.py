"""What read models have in common whose rows say from which event to which something was so of a user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import asyncpg
import msgspec
from msgspec.structs import astuple, replace

from app.eventstore.recorded import RecordedEvent
from projections.projection import Key, Projection

S = TypeVar("S", bound=msgspec.Struct)


class UserSpans(Projection[tuple[S, ...]]):
    """All spans of a user are folded together; none goes, one ends.

    The table has a column for each field of `span`, in their order, among them user_id, from_position, to_position and until.
    """

    key_columns = ("user_id",)
    by_stream = True
    span: type[S]

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """The user."""
        return ((recorded.stream_id,),)

    def to_table(self, row: tuple[S, ...]) -> Iterable[tuple[Any, ...]]:
        """Each span, in the table's order."""
        return map(astuple, row)

    def from_table(self, records: Sequence[asyncpg.Record]) -> tuple[S, ...]:
        """As they were written, in the order in which they began."""
        return tuple(self.span(*record) for record in sorted(records, key=lambda record: record["from_position"]))


def ended(span: S, recorded: RecordedEvent) -> S:
    """The span, which this event ends."""
    return replace(span, to_position=recorded.position, until=recorded.occurred_at)
