"""From events and the rows before them to what must be written: pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec

from app.errors import UnreadableEvent
from app.eventstore.recorded import RecordedEvent
from projections.projection import Key, Projection

R = TypeVar("R")

Values = tuple[Any, ...]


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

    A twin's row is the values of a version with the span for which it was true; it is made when the version ends.
    """

    def __init__(self, projection: Projection[R], rows: dict[Key, R] | None = None) -> None:
        """`rows` are as the table has them; a key that is not among them has no row there."""
        self._projection = projection
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
        """Fold the events, in their order. Raises UnreadableEvent that names the event; then nothing here is of use."""
        projection, rows, changed = self._projection, self._rows, self._changed
        keys, evolve = projection.key, projection.evolve
        end_version = self._end_version if projection.history is not None else None
        for recorded in events:
            try:
                for key in keys(recorded):
                    before = rows.get(key)
                    rows[key] = evolve(before, recorded)
                    if before is not None and end_version is not None:
                        end_version(key, before, recorded)
                    changed[key] = recorded.position, recorded.occurred_at
            except Exception as error:
                raise UnreadableEvent(
                    f"projection {projection.name} cannot fold {recorded.type} {recorded.event_id} in stream"
                    f" {recorded.stream_id} at position {recorded.position}: {error!r}"
                ) from error

    def _end_version(self, key: Key, version: R, recorded: RecordedEvent) -> None:
        began = self._changed.get(key)
        if began is None:  # the table's twin has it, as a span without an end
            self._ended.append((*key, recorded.position, recorded.occurred_at))
        else:
            for values in self._projection.to_table(version):
                self._spans.append((*values, began[0], recorded.position, began[1], recorded.occurred_at))

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
        for values in self._projection.to_table(row):
            (changes.updated if stored else changes.added).append(values)
            if self._projection.history is not None:
                changes.spans.append((*values, position, None, time, None))
        self._stored.add(key)

    def forget(self) -> None:
        """Drop the rows, all of which must have been taken, from memory."""
        self._rows.clear()
        self._stored.clear()


def touched(projection: Projection[Any], events: Iterable[RecordedEvent]) -> set[Key]:
    """The keys of the rows that the events touch."""
    return {key for recorded in events for key in projection.key(recorded)}


NOTHING = Changes(added=[], updated=[], gone=[], ended=[], spans=[])


def fold(projection: Projection[R], events: Iterable[RecordedEvent], before: dict[Key, R]) -> Changes:
    """What a page of events makes of the rows that were there before. Raises UnreadableEvent that names the event."""
    page = Fold(projection, before)
    page.apply(events)
    return page.take() or NOTHING
