"""What goes into an append, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from app.domain.aggregate import Claim, Event


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """The events that one command adds to one stream, and what must hold for that."""

    stream_id: UUID
    stream_type: str
    tenant_id: UUID
    expected_version: int
    """The version at which the writer saw the stream; 0 when there was none."""
    events: tuple[Event, ...]
    event_ids: tuple[UUID, ...]
    occurred_at: datetime
    """The log takes the stream's last time instead if that is later."""
    metadata: Mapping[str, str] = {}
    takes: frozenset[Claim] = frozenset()
    releases: frozenset[Claim] = frozenset()
    relies_on: Mapping[UUID, int] = {}
    """The other streams that the decision looked at, each with its version, 0 for one that must not exist."""
    command_id: UUID | None = None
    """The same id is carried out once."""
    request_hash: bytes | None = None
    """Tells the same command sent again from another one under the same id."""
    credential: str | None = None
    """A password hash to keep beside the stream."""


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where an append ended: at the last event that it added or, when it added none, at the stream as it stands."""

    stream_id: UUID
    version: int
    position: int
    events: int
    """How many were added; they are the stream's last ones up to `version`."""
    occurred_at: datetime
    recorded_at: datetime
    replayed: bool
    """The command had been carried out before; this is what it came to then."""
