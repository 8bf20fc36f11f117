"""Checks and folds the facts of one transaction of an import, and makes rows of them. Knows no database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from app.domain.aggregate import Claim, Event
from app.errors import UnreadableEvent
from app.eventstore.codec import Codec, holds_nul

ClaimKey = tuple[UUID, str, str]
"""Tenant, kind and value."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event as somebody else recorded it. `line` is where it stands in the import, for messages."""

    line: int
    event_id: UUID
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    schema_version: int = 1
    tenant_id: UUID
    data: bytes | str | dict[str, Any]
    """The stored form: JSON, as text or decoded."""
    metadata: Mapping[str, Any] = {}
    occurred_at: datetime


class BadFact(Exception):
    """A fact that cannot be appended."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class Tail(msgspec.Struct, kw_only=True):
    """The end of a stream, which each fact moves on."""

    stream_type: str
    tenant_id: UUID
    version: int = 0
    first_position: int = 0
    last_position: int = 0
    occurred_at: datetime | None = None
    state: Any = None
    claims: frozenset[Claim] = frozenset()


class ClaimChange(NamedTuple):
    """What one fact gives back and takes."""

    line: int
    stream_id: UUID
    released: list[ClaimKey]
    taken: list[ClaimKey]


class Facts:
    """The facts of one transaction, one after the other.

    `known` are the events among them that the log holds, by id; `tails` the streams that exist, kept up to date;
    `head` is the last position of the log, and `now` the time at which it takes the events.
    """

    def __init__(
        self, codec: Codec, known: dict[UUID, tuple[UUID, int]], tails: dict[UUID, Tail], head: int, now: datetime
    ) -> None:
        self._codec = codec
        self._known = known
        self._tails = tails
        self._now = now
        self.head = self.position = head
        self.records: list[tuple[Any, ...]] = []
        """Rows for the log."""
        self.lines: list[int] = []
        """The line that each of them came from."""
        self.moved: dict[UUID, Tail] = {}
        """The streams that they belong to."""
        self.claim_changes: list[ClaimChange] = []

    def add(self, fact: Fact) -> None:
        """Take in one more, unless it is known. Raises BadFact."""
        place = self._known.get(fact.event_id)
        if place == (fact.stream_id, fact.version):
            return
        try:
            if place:
                raise ValueError(f"event {fact.event_id} is in the log already, as version {place[1]} of stream {place[0]}")
            tail = self._tails.get(fact.stream_id) or Tail(stream_type=fact.stream_type, tenant_id=fact.tenant_id)
            self._check_place(fact, tail)
            data = _text(fact.data)
            event = self._codec.decode(fact.type, fact.schema_version, data)
            metadata = _text(fact.metadata)
            self._move(fact, tail, event)
        except (ValueError, UnreadableEvent) as error:
            raise BadFact(fact.line, str(error)) from error
        self._known[fact.event_id] = fact.stream_id, fact.version
        self._tails[fact.stream_id] = self.moved[fact.stream_id] = tail
        self.lines.append(fact.line)
        self.records.append(
            (
                self.position,
                fact.event_id,
                fact.stream_id,
                fact.version,
                fact.type,
                fact.schema_version,
                fact.tenant_id,
                data,
                metadata,
                fact.occurred_at,
                self._now,
            )
        )

    def claims_touched(self) -> list[ClaimKey]:
        """The claims that change hands, each once."""
        return list({key: None for change in self.claim_changes for key in (*change.released, *change.taken)})

    def hand_over_claims(self, holders: dict[ClaimKey, UUID | None]) -> None:
        """Bring the holders of the claims touched from before the facts to after them. Raises BadFact for one that is taken."""
        for change in self.claim_changes:
            holders.update(dict.fromkeys(change.released))
            for key in change.taken:
                if holder := holders[key]:
                    _, kind, value = key
                    raise BadFact(change.line, f"{kind} {value!r} is already taken, by stream {holder}")
                holders[key] = change.stream_id

    def _check_place(self, fact: Fact, tail: Tail) -> None:
        if self._codec.stream_type(fact.type) != fact.stream_type:
            raise ValueError(f"{fact.type} is no event of a {fact.stream_type}")
        if (tail.stream_type, tail.tenant_id) != (fact.stream_type, fact.tenant_id):
            raise ValueError(f"stream {fact.stream_id} is a {tail.stream_type} of tenant {tail.tenant_id}")
        if fact.version != tail.version + 1:
            raise ValueError(
                f"version {fact.version} of stream {fact.stream_id} cannot follow its version {tail.version}"
                if tail.version
                else f"version {fact.version} cannot be the first of stream {fact.stream_id}"
            )
        if fact.occurred_at.utcoffset() is None:
            raise ValueError(f"the time {fact.occurred_at.isoformat()} has no offset")
        if tail.occurred_at and fact.occurred_at < tail.occurred_at:
            raise ValueError(
                f"{fact.occurred_at.isoformat()} is before the last event of stream {fact.stream_id},"
                f" {tail.occurred_at.isoformat()}"
            )

    def _move(self, fact: Fact, tail: Tail, event: Event) -> None:
        aggregate = self._codec.aggregates[fact.stream_type]
        try:
            tail.state = aggregate.evolve(tail.state, event, fact.occurred_at)
        except Exception as error:  # evolve is the aggregates' code, and what it meets is foreign
            raise ValueError(f"{fact.type} cannot follow in stream {fact.stream_id}: {error!r}") from error
        claims = aggregate.claims(tail.state)
        if claims != tail.claims:
            released, taken = (_keys(fact.tenant_id, part) for part in (tail.claims - claims, claims - tail.claims))
            self.claim_changes.append(ClaimChange(fact.line, fact.stream_id, released, taken))
            tail.claims = claims
        self.position += 1
        tail.version = fact.version
        tail.first_position = tail.first_position or self.position
        tail.last_position = self.position
        tail.occurred_at = fact.occurred_at


def _keys(tenant_id: UUID, claims: Iterable[Claim]) -> list[ClaimKey]:
    return [(tenant_id, *claim) for claim in claims]


def _text(data: bytes | str | Mapping[str, Any]) -> str:
    if not isinstance(data, (bytes, str)):
        data = msgspec.json.encode(data)
    text = data.decode() if isinstance(data, bytes) else data
    if holds_nul(text):
        raise ValueError("holds the character U+0000, which cannot be stored")
    return text
