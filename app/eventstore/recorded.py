"""An event as the log holds it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from app.domain.aggregate import Event


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
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
