"""From a page of events and the rows before it to what must be written: pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from app.errors import UnreadableEvent
from app.eventstore.recorded import RecordedEvent
from projections.projection import Key, Projection

R = TypeVar("R")

Place: TypeAlias = Key | UUID
"""Where events are parked: at the key of a row, or at a stream when an event of it does not tell which rows it touches."""

KeyOf: TypeAlias = Callable[[RecordedEvent], Iterable[Key]]


class Parked(msgspec.Struct, frozen=True):
    """An event that waits: the one that could not be folded, with its error, or one that comes later at the same place."""

    place: Place
    recorded: RecordedEvent
    error: Exception | None = None


class Changes(msgspec.Struct, Generic[R], frozen=True):
    """What a page of events makes of a projection's rows."""

    rows: dict[Key, R | None]
    """The rows touched, as they are after the page; None for one that is gone."""
    ended: list[tuple[Any, ...]]
    """Key values, position and time of each row's first change: there the span of its former version ends."""
    spans: list[tuple[Any, ...]]
    """Rows of the twin: every version that the page made, the last of each key without an end."""
    parked: list[Parked]
    """The events that were not folded, in their order; one that touches several rows once for each row that lacks it."""


def touched(events: Iterable[RecordedEvent], key: KeyOf) -> set[Key]:
    """The keys of the rows that the events touch, as far as these can be told."""
    keys: set[Key] = set()
    for recorded in events:
        try:
            keys.update(key(recorded))
        except Exception:  # `fold` meets it again, and parks the event
            continue
    return keys


def fold(
    projection: Projection[R],
    events: Iterable[RecordedEvent],
    before: dict[Key, R],
    parked: Collection[Place] = (),
    key: KeyOf | None = None,
) -> Changes[R]:
    """Fold the events, in their order, into the rows as they were before; with `key` they count for those rows only.

    An event at a place in `parked` is parked there too. One that the projection cannot fold into a row parks that row's
    key, and goes into its other rows; one of which it cannot tell the rows parks its stream. Raises UnreadableEvent for a
    row that the projection made and cannot write.
    """
    key = key or projection.key
    rows: dict[Key, R | None] = {}
    versions: dict[Key, list[tuple[int, datetime, R | None]]] = {}
    parking = _Parking(parked)
    for recorded in events:
        try:
            keys = tuple(key(recorded))
        except Exception as error:
            parking.park(recorded.stream_id, recorded, error)
            continue
        for each in parking.still_open(keys, recorded) if parking.closed else keys:
            try:
                row = rows[each] = projection.evolve(rows[each] if each in rows else before.get(each), recorded)
            except Exception as error:
                parking.park(each, recorded, error)
            else:
                versions.setdefault(each, []).append((recorded.position, recorded.occurred_at, row))
    if projection.history is None:
        return Changes(rows, [], [], parking.events)
    ended = [(*key, *of_key[0][:2]) for key, of_key in versions.items() if key in before]
    spans = [span for of_key in versions.values() for span in _spans(projection, of_key)]
    return Changes(rows, ended, spans, parking.events)


def unwritable(projection: Projection[Any], error: Exception) -> UnreadableEvent:
    """What to raise when `values` fails for a row."""
    return UnreadableEvent(f"projection {projection.name} cannot write a row that it made: {error!r}")


class _Parking:
    """The places where events wait, and those that the fold adds to them."""

    def __init__(self, closed: Collection[Place]) -> None:
        self.closed = set(closed)
        self.events: list[Parked] = []

    def park(self, place: Place, recorded: RecordedEvent, error: Exception | None = None) -> None:
        """Let the event wait, and close the place if it is open."""
        self.events.append(Parked(place, recorded, None if place in self.closed else error))
        self.closed.add(place)

    def still_open(self, keys: Iterable[Key], recorded: RecordedEvent) -> Iterator[Key]:
        """The rows for which the event need not wait; for the others it is parked."""
        if recorded.stream_id in self.closed:
            self.park(recorded.stream_id, recorded)
            return
        for key in keys:
            if key in self.closed:
                self.park(key, recorded)
            else:
                yield key


def _spans(projection: Projection[R], versions: Sequence[tuple[int, datetime, R | None]]) -> Iterator[tuple[Any, ...]]:
    ends: list[tuple[int | None, datetime | None]] = [(position, time) for position, time, _ in versions[1:]]
    try:
        for (from_position, valid_from, row), (to_position, valid_to) in zip(versions, [*ends, (None, None)], strict=True):
            if row is not None:
                yield (*projection.values(row), from_position, to_position, valid_from, valid_to)
    except Exception as error:
        raise unwritable(projection, error) from error
