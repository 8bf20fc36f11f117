"""From events and the rows before them to what must be written: pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from app.errors import UnreadableEvent
from app.eventstore.recorded import RecordedEvent
from projections.projection import Key, Projection

R = TypeVar("R")

Values: TypeAlias = tuple[Any, ...]

Place: TypeAlias = Key | UUID
"""Where events are parked: at the key of a row, or at a stream when an event of it does not tell which rows it touches."""

KeyOf: TypeAlias = Callable[[RecordedEvent], Iterable[Key]]


class Parked(msgspec.Struct, frozen=True):
    """An event that waits: the one that could not be folded, with its error, or one that comes later at the same place."""

    place: Place
    recorded: RecordedEvent
    error: Exception | None = None


class Changes(msgspec.Struct, frozen=True):
    """What events make of a projection's tables."""

    added: list[Values]
    """Rows of keys that the table does not have yet."""
    updated: list[Values]
    """Rows of keys that it has, as they are now."""
    gone: list[Key]
    """The keys of rows that it has and that there are no more."""
    ended: list[Values]
    """Key values, position and time of the first change of each row that the table has: there its span in the twin ends."""
    spans: list[Values]
    """Rows of the twin: every version of a row that the events made, the last one of each key without an end."""


class Fold(Generic[R]):
    """Rows in memory, and what became of them since they were last written.

    An event that the projection cannot fold into a row parks that row's key, and goes into its other rows; one of which it
    cannot tell the rows parks its stream. Later events at such a place are parked behind it. What raises UnreadableEvent
    here is a row that the projection made and cannot write; then nothing of this fold is of use.
    """

    def __init__(
        self,
        projection: Projection[R],
        rows: dict[Key, R] | None = None,
        parked: Collection[Place] = (),
        key: KeyOf | None = None,
    ) -> None:
        """`rows` are as the table has them; a key that is not among them has no row there. With `key`, events count for
        those rows only.
        """
        self.parking = Parking(parked)
        self._projection = projection
        self._key = key or projection.key
        self._rows: dict[Key, R | None] = dict(rows or {})
        self._stored = set(self._rows)
        self._changed: dict[Key, tuple[int, datetime]] = {}
        """Where and when the present version of each row that is not written yet began."""
        self._ended: list[Values] = []
        self._spans: list[Values] = []

    def __len__(self) -> int:
        """How many rows are in memory, written or not."""
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        """Whether the row is in memory."""
        return key in self._rows

    def remember(self, keys: Iterable[Key], rows: dict[Key, R]) -> None:
        """Take in rows that the table has; of the keys, those that are not among them have none."""
        self._rows.update(dict.fromkeys(keys))
        self._rows.update(rows)
        self._stored.update(rows)

    def apply(self, events: Iterable[RecordedEvent]) -> None:
        """Fold the events, in their order. Raises UnreadableEvent."""
        parking, rows, changed, key_of, evolve = self.parking, self._rows, self._changed, self._key, self._projection.evolve
        temporal = self._projection.history is not None
        for recorded in events:
            try:
                keys = tuple(key_of(recorded))
            except Exception as error:
                parking.park(recorded.stream_id, recorded, error)
                continue
            for key in parking.still_open(keys, recorded) if parking.closed else keys:
                before = rows.get(key)
                try:
                    rows[key] = evolve(before, recorded)
                except Exception as error:
                    parking.park(key, recorded, error)
                    continue
                if temporal and before is not None:
                    self._end_version(key, before, recorded)
                changed[key] = recorded.position, recorded.occurred_at

    def _end_version(self, key: Key, version: R, recorded: RecordedEvent) -> None:
        began = self._changed.get(key)
        if began is None:  # the table's twin has it, as a span without an end
            self._ended.append((*key, recorded.position, recorded.occurred_at))
        else:
            for values in self._to_table(version):
                self._spans.append((*values, began[0], recorded.position, began[1], recorded.occurred_at))

    def _to_table(self, row: R) -> list[Values]:
        try:
            return list(self._projection.to_table(row))
        except Exception as error:
            raise UnreadableEvent(f"projection {self._projection.name} cannot write a row that it made: {error!r}") from error

    @property
    def ended_versions(self) -> int:
        """How many versions ended that are not written yet."""
        return len(self._spans)

    def take_ended_versions(self) -> Changes:
        """What is not written yet of the versions that ended. Whoever takes it writes it."""
        changes = Changes(added=[], updated=[], gone=[], ended=self._ended, spans=self._spans)
        self._ended, self._spans = [], []
        return changes

    def take(self, limit: int | None = None) -> Changes | None:
        """What is not written yet, of at most so many rows; None when all is. Whoever takes it writes it."""
        if not self._changed:
            return None
        changes = self.take_ended_versions()
        for key in list(islice(self._changed, limit)):
            self._take_row(key, changes)
        return changes

    def _take_row(self, key: Key, changes: Changes) -> None:
        row, stored, (position, time) = self._rows[key], key in self._stored, self._changed.pop(key)
        if row is None:
            if stored:
                changes.gone.append(key)
                self._stored.discard(key)
            return
        for values in self._to_table(row):
            (changes.updated if stored else changes.added).append(values)
            if self._projection.history is not None:
                changes.spans.append((*values, position, None, time, None))
        self._stored.add(key)

    def forget(self) -> None:
        """Drop the rows, all of which must have been taken, from memory."""
        self._rows.clear()
        self._stored.clear()


class Parking:
    """The places where events wait, and those that a fold adds to them."""

    def __init__(self, closed: Collection[Place]) -> None:
        self.closed = set(closed)
        self.events: list[Parked] = []
        """The events that were not folded, in their order; one that touches several rows once for each row that lacks it."""

    def park(self, place: Place, recorded: RecordedEvent, error: Exception | None = None) -> None:
        """Let the event wait, and close the place if it is open."""
        is_open = place not in self.closed
        self.events.append(Parked(place, recorded, error if is_open else None))
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

    def take(self) -> list[Parked]:
        """The events that were not folded. Whoever takes them keeps them."""
        taken, self.events = self.events, []
        return taken


def touched(events: Iterable[RecordedEvent], key: KeyOf) -> set[Key]:
    """The keys of the rows that the events touch, as far as these can be told."""
    keys: set[Key] = set()
    for recorded in events:
        try:
            keys.update(key(recorded))
        except Exception:  # the fold meets it again, and parks the event
            continue
    return keys
