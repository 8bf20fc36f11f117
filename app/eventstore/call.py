"""One call of `es.append_events`: commands to parallel arrays, rows to answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import msgspec

from app.errors import AlreadyTaken, BadInput, HindsightError, IdempotencyMismatch, VersionConflict
from app.eventstore.append import Append, Appended
from app.eventstore.codec import Codec

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

SQL = f"SELECT * FROM es.append_events({', '.join(f'${number}' for number in range(1, 26))})"

Answer = Appended | HindsightError


class Encoded(NamedTuple):
    """A command whose events are JSON already."""

    append: Append
    events: Sequence[tuple[str, int, str]]
    metadata: str

    @classmethod
    def by(cls, codec: Codec, append: Append) -> Encoded:
        """Raises BadInput and UnknownEventType."""
        assert len(append.events) == len(append.event_ids), "each event has its id"
        metadata = msgspec.json.encode(append.metadata).decode()
        return cls(append, [codec.encode(event) for event in append.events], metadata)


async def call(statement: PreparedStatement[asyncpg.Record], commands: Sequence[Encoded]) -> list[Answer]:
    """Append in one round trip what commands decided, none of which touches what another writes: see `apart`.

    `statement` is `SQL`, prepared. The answers are in the order of the commands.
    """
    numbered = [(number, command.append) for number, command in enumerate(commands, 1)]
    taken = [(number, *claim) for number, append in numbered for claim in sorted(append.takes)]
    rows = await statement.fetch(
        *_columns(10, [_command_row(command) for command in commands]),
        *_columns(6, [row for number, command in enumerate(commands, 1) for row in _event_rows(number, command)]),
        *_columns(3, [(number, *relied) for number, append in numbered for relied in append.relies_on.items()]),
        *_columns(3, [(number, *claim) for number, append in numbered for claim in append.releases]),
        *_columns(3, taken),
    )
    return [_answer(append, row, taken) for (_, append), row in zip(numbered, rows, strict=True)]


def _command_row(command: Encoded) -> tuple[Any, ...]:
    append = command.append
    return (
        append.stream_id,
        append.stream_type,
        append.tenant_id,
        append.expected_version,
        len(append.events),
        append.occurred_at,
        command.metadata,
        append.command_id,
        append.request_hash,
        append.credential,
    )


def _event_rows(number: int, command: Encoded) -> Iterator[tuple[Any, ...]]:
    version = command.append.expected_version
    for event_id, encoded in zip(command.append.event_ids, command.events, strict=True):
        version += 1
        yield number, event_id, version, *encoded


def _columns(width: int, rows: Sequence[tuple[Any, ...]]) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width


def _answer(append: Append, row: asyncpg.Record, taken: Sequence[tuple[int, str, str]]) -> Answer:
    outcome, version, position, events, occurred_at, recorded_at, culprit, claim = row
    match outcome:
        case "appended" | "replayed":
            return Appended(
                stream_id=culprit,
                version=version,
                position=position,
                events=events,
                occurred_at=occurred_at,
                recorded_at=recorded_at,
                replayed=outcome == "replayed",
            )
        case "conflict":
            own = culprit == append.stream_id
            return VersionConflict(culprit, append.expected_version if own else append.relies_on[culprit], version)
        case "taken":
            _, kind, value = taken[claim - 1]
            return AlreadyTaken(kind, value, culprit)
        case "mismatch":
            return IdempotencyMismatch()
        case "misplaced":
            return BadInput("id", f"stream {append.stream_id} is no {append.stream_type} of tenant {append.tenant_id}")
        case _:
            raise AssertionError(f"es.append_events answers {outcome!r}, which it should not")
