"""From events and the rows before them to what must be written: pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
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

    added: list[Any]
    """Rows of keys that the table does not have yet: their values, or their form in a binary COPY."""
    updated: list[Values]
    """Rows of keys that it has, as they are now."""
    gone: list[Key]
    """The keys of rows that it has and that there are no more."""
    ended: list[Values]
    """Key values, position and time of the first change of each row that the table has: there its span in the twin ends."""
    spans: list[Any]
    """Rows of the twin: every version of a row that the events made, the last one of each key without an end. As `added`."""


class Held(Generic[R]):
    """A row in memory."""

    __slots__ = ("form", "position", "row", "stored", "time")

    def __init__(self, row: R | None = None, *, stored: bool = False) -> None:
        self.row = row
        self.stored = stored
        """Whether the table has a row of its key."""
        self.position: int | None = None
        """Where this version of it began; None if it is written."""
        self.time: datetime | None = None
        """When it began."""
        self.form: Any = None
        """What it was last turned into, for whoever can turn the next version into the same with less work."""


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
        self._spans: list[Any] = []
        self._projection = projection
        self._key = key or projection.key
        self._held: dict[Key, Held[R]] = {key: Held(row, stored=True) for key, row in (rows or {}).items()}
        self._changed: list[tuple[Key, Held[R]]] = []
        self._ended: list[Values] = []
        self._gathered: dict[Key, list[RecordedEvent]] = {}

    def __len__(self) -> int:
        """How many rows are in memory, written or not."""
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        """Whether the row is in memory."""
        return key in self._held

    @property
    def unwritten(self) -> int:
        """How many rows are not written as they are, and how many versions that have ended are not."""
        return len(self._changed) + len(self._spans)

    def remember(self, keys: Iterable[Key], rows: dict[Key, R]) -> None:
        """Take in rows that the table has; of the keys, those that are not among them have none."""
        for key in keys:
            self._held[key] = Held(rows.get(key), stored=key in rows)

    def apply(self, events: Iterable[RecordedEvent]) -> None:
        """Fold the events, in their order. Raises UnreadableEvent."""
        self.gather(events)
        self.fold()

    def gather(self, events: Iterable[RecordedEvent]) -> None:
        """Take in events, in their order, to be folded later.

        A row's events are folded one after the other: rows are scattered over memory, and of many rows to fetch one takes
        longer than to fold it.
        """
        parking, gathered, key_of = self.parking, self._gathered, self._key
        for recorded in events:
            try:
                keys = tuple(key_of(recorded))
            except Exception as error:
                parking.park(recorded.stream_id, recorded, error)
                continue
            for key in parking.still_open(keys, recorded) if parking.closed else keys:
                own = gathered.get(key)
                if own is None:
                    gathered[key] = [recorded]
                else:
                    own.append(recorded)

    def fold(self, limit: int | None = None) -> bool:
        """Fold what was gathered, but stop when so many versions have ended that are not written; whether there is more.

        Raises UnreadableEvent.
        """
        while self._gathered:
            if limit is not None and self.has_spans(limit):
                return True
            key, events = self._gathered.popitem()
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = Held()
            self._fold_into(held, key, events)
            held.form = None  # to keep it for the row's next events would double what a row takes
        return False

    def _fold_into(self, held: Held[R], key: Key, events: list[RecordedEvent]) -> None:
        evolve, temporal = self._projection.evolve, self._projection.history is not None
        for place, recorded in enumerate(events):
            try:
                row = evolve(held.row, recorded)
            except Exception as error:
                self.parking.park(key, recorded, error)
                for later in events[place + 1 :]:
                    self.parking.park(key, later)
                return
            if temporal and held.row is not None:
                self._end_version(key, held, recorded)
            if held.position is None:
                self._changed.append((key, held))
            held.row, held.position, held.time = row, recorded.position, recorded.occurred_at

    def _end_version(self, key: Key, held: Held[R], recorded: RecordedEvent) -> None:
        if held.position is None:  # the table's twin has it, as a span without an end
            self._ended.append((*key, recorded.position, recorded.occurred_at))
        else:
            self._keep_version(held, recorded.position, recorded.occurred_at)

    def _keep_version(self, held: Held[R], to_position: int | None, valid_to: datetime | None) -> None:
        for values in self._to_table(held):
            self._spans.append((*values, held.position, to_position, held.time, valid_to))

    def _to_table(self, held: Held[R]) -> list[Values]:
        assert held.row is not None
        try:
            return list(self._projection.to_table(held.row))
        except Exception as error:
            raise unwritable(self._projection, error) from error

    def has_spans(self, at_least: int = 1) -> bool:
        """Whether so many versions have ended that are not written yet."""
        return len(self._spans) >= at_least

    def take_spans(self) -> list[Any]:
        """The versions that ended and are not written yet, as rows of the twin. Whoever takes them writes them."""
        spans, self._spans = self._spans, []
        return spans

    def take(self, limit: int | None = None) -> Changes | None:
        """What is not written yet, of at most so many rows; None when all is. Whoever takes it writes it."""
        if not self._changed:
            return None
        changed, self._changed = self._changed[:limit], self._changed[len(self._changed) if limit is None else limit :]
        added, updated, gone = list[Any](), list[Values](), list[Key]()
        for key, held in changed:
            if held.row is None:
                if held.stored:
                    gone.append(key)
            else:
                if held.stored:
                    updated += self._to_table(held)
                else:
                    self._add(held, added)
                if self._projection.history is not None:
                    self._keep_version(held, None, None)
            held.stored, held.position, held.time, held.form = held.row is not None, None, None, None
        ended, self._ended = self._ended, []
        return Changes(added=added, updated=updated, gone=gone, ended=ended, spans=self.take_spans())

    def _add(self, held: Held[R], added: list[Any]) -> None:
        added += self._to_table(held)

    def forget(self, but: Key | None = None) -> None:
        """Drop the rows, all of which must have been taken, from memory, `but` one if it is there."""
        self._held = {key: self._held[key] for key in self._held.keys() & {but}}


def unwritable(projection: Projection[Any], error: Exception) -> UnreadableEvent:
    """What is raised for a row that the projection made and that cannot be written."""
    return UnreadableEvent(f"projection {projection.name} cannot write a row that it made: {error!r}")


class Parking:
    """The places where events wait, and those that a fold adds to them."""

    def __init__(self, closed: Collection[Place]) -> None:
        self.closed = set(closed)
        self.events: list[Parked] = []
        """The events that were not folded; one that touches several rows once for each row that lacks it."""

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
        """The events that were not folded, in their order. Whoever takes them keeps them."""
        taken, self.events = sorted(self.events, key=lambda parked: parked.recorded.position), []
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
