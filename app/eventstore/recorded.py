"""An event as the log holds it."""

from __future__ import annotations

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


class BareEvent(RecordedEvent, frozen=True, kw_only=True):
    """An event without what a fold of its stream does not ask for, read in half the time: its id, metadata and recording time.

    Whoever asks for one of those learns that it must read whole events.
    """

    @property  # type: ignore[misc]  # takes the place of the attribute, whose value nobody has
    def event_id(self) -> UUID:
        """Raises TypeError."""
        raise TypeError("the id of a bare event was not read")

    @property  # type: ignore[misc]
    def metadata_json(self) -> str:
        """Raises TypeError."""
        raise TypeError("the metadata of a bare event was not read")

    @property  # type: ignore[misc]
    def recorded_at(self) -> datetime:
        """Raises TypeError."""
        raise TypeError("the recording time of a bare event was not read")
