"""An event as the log holds it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.domain.aggregate import Event
from app.errors import UnreadableEvent


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event with its place, its times and its metadata. `event` is upcast to the newest schema version."""

    position: int
    event_id: UUID
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    schema_version: int
    """The schema version in which the event was stored."""
    tenant_id: UUID
    event: Event
    metadata_json: str
    occurred_at: datetime
    recorded_at: datetime

    @property
    def metadata(self) -> dict[str, Any]:
        """Who and why: `actor`, `correlationId`, `causationId`, `ipAddress`, `userAgent` and free keys."""
        return msgspec.json.decode(self.metadata_json, type=dict[str, Any])


class UndecodedEvent(RecordedEvent, frozen=True, kw_only=True):
    """An event whose data cannot be decoded: all else is known of it, and whoever asks for `event` is told why there is none.

    `stream_type` is empty when no aggregate declares the event's type.
    """

    reason: UnreadableEvent

    @property  # type: ignore[misc]  # takes the place of the attribute, whose value nobody has
    def event(self) -> Event:
        """Raises UnreadableEvent."""
        raise UnreadableEvent(self.reason.message) from self.reason


class Happened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a fold takes of an event: the form in which very many are read fastest, a third of the time of a RecordedEvent."""

    position: int
    version: int
    type: str
    schema_version: int
    data: msgspec.Raw
    """Not decoded yet."""
    at: datetime
    """When it occurred."""


class Excerpt(msgspec.Struct, frozen=True, gc=False):
    """What the log holds of one stream between two positions, at least one event, in the order of the log."""

    stream_id: UUID
    tenant_id: UUID
    events: Sequence[Happened]

    @property
    def positions(self) -> list[int]:
        """Of its events."""
        return [each.position for each in self.events]

    def within(self, first: int, last: int) -> Excerpt | None:
        """What of it is after the position `first` and not after `last`."""
        if self.events[0].position > first and self.events[-1].position <= last:
            return self
        kept = [each for each in self.events if first < each.position <= last]
        return Excerpt(self.stream_id, self.tenant_id, kept) if kept else None
