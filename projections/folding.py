"""From a page of events and the rows before it to what must be written: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from app.errors import UnreadableEvent
from app.eventstore.recorded import RecordedEvent
from projections.projection import Key, Projection

R = TypeVar("R")


class Changes(msgspec.Struct, Generic[R], frozen=True):
    """What a page of events makes of a projection's rows."""

    rows: dict[Key, R | None]
    """The rows touched, as they are after the page; None for one that is gone."""
    ended: list[tuple[Any, ...]]
    """Key values, position and time of each row's first change: there the span of its former version ends."""
    spans: list[tuple[Any, ...]]
    """Rows of the twin: every version that the page made, the last of each key without an end."""


def touched(projection: Projection[Any], events: Iterable[RecordedEvent]) -> set[Key]:
    """The keys of the rows that the events touch."""
    return {key for recorded in events for key in projection.key(recorded)}


def fold(projection: Projection[R], events: Sequence[RecordedEvent], before: dict[Key, R]) -> Changes[R]:
    """Fold the events, in their order, into the rows as they were before. Raises UnreadableEvent that names the event."""
    rows: dict[Key, R | None] = {}
    versions: dict[Key, list[tuple[int, datetime, R | None]]] = {}
    for recorded in events:
        try:
            for key in projection.key(recorded):
                row = rows[key] = projection.evolve(rows[key] if key in rows else before.get(key), recorded)
                versions.setdefault(key, []).append((recorded.position, recorded.occurred_at, row))
        except Exception as error:
            raise UnreadableEvent(
                f"projection {projection.name} cannot fold {recorded.type} {recorded.event_id} in stream {recorded.stream_id}"
                f" at position {recorded.position}: {error!r}"
            ) from error
    if projection.history is None:
        return Changes(rows, [], [])
    ended = [(*key, *of_key[0][:2]) for key, of_key in versions.items() if key in before]
    return Changes(rows, ended, [span for of_key in versions.values() for span in _spans(projection, of_key)])


def _spans(projection: Projection[R], versions: Sequence[tuple[int, datetime, R | None]]) -> Iterable[tuple[Any, ...]]:
    ends: list[tuple[int | None, datetime | None]] = [(position, time) for position, time, _ in versions[1:]]
    for (from_position, valid_from, row), (to_position, valid_to) in zip(versions, [*ends, (None, None)], strict=True):
        for values in projection.to_table(row) if row is not None else ():
            yield (*values, from_position, to_position, valid_from, valid_to)
