"""Events to stored JSON and back, for every event of every aggregate, with the old versions brought up to date."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from app.domain.aggregate import Aggregate, Event, Upcaster
from app.errors import BadInput, ConfigurationError, UnknownEventType, UnreadableEvent

Reader = tuple[str, Callable[[str | bytes], Event]]
"""The type of the streams that hold such an event, and what decodes its data."""

UNESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Codec:
    """Knows the stored types, which are the class names in the aggregates' unions of events."""

    def __init__(self, aggregates: Iterable[Aggregate[Any, Any, Any]]) -> None:
        """Raises ConfigurationError when two aggregates share a name, or an upcaster has no event."""
        self.aggregates: Mapping[str, Aggregate[Any, Any, Any]] = _by_stream_type(aggregates)
        self._formats = {format.type.__name__: format for format in _formats(self.aggregates.values())}
        self.event_types: Mapping[str, type[Event]] = {name: format.type for name, format in self._formats.items()}
        self._encode = msgspec.json.Encoder().encode
        self._readers: dict[tuple[str, int], Reader] = {}

    def stream_type(self, event_type: str) -> str:
        """The type of the streams that hold such events. Raises UnknownEventType."""
        return self._format(event_type).stream_type

    def schema_version(self, event_type: str) -> int:
        """The version in which such events are stored now. Raises UnknownEventType."""
        return self._format(event_type).schema_version

    def encode(self, event: Event) -> tuple[str, int, str]:
        """Stored type, schema version and JSON text.

        Raises UnknownEventType, and BadInput for text that PostgreSQL cannot hold.
        """
        name = type(event).__name__
        schema_version = self._format(name).schema_version
        try:
            data = self._encode(event).decode()
        except UnicodeEncodeError as error:
            raise BadInput(name, f"holds text that is not Unicode: {error.reason}") from error
        if holds_nul(data):
            raise BadInput(name, "holds the character U+0000, which cannot be stored")
        return name, schema_version, data

    def decode(
        self, type: str, schema_version: int, data: str | bytes, *, stream_id: UUID | None = None, position: int | None = None
    ) -> Event:
        """The event that was stored, as the newest version of its type; stream and position are for the message of an error.

        Raises UnknownEventType, and UnreadableEvent when the JSON does not fit the type.
        """
        format = self._formats.get(type)
        if format is None:
            raise UnknownEventType(type, place(stream_id, position))
        try:
            return format.decode(schema_version, data)
        except Exception as error:  # upcasters are the aggregates' code, and what they meet is old
            what = " ".join(filter(None, (f"{type} of schema version {schema_version}", place(stream_id, position))))
            raise UnreadableEvent(f"{what} cannot be read: {error}") from error

    def reader(self, type: str, schema_version: int) -> Reader:
        """The same for very many events: made once for those of one type and version. Raises UnknownEventType.

        It raises whatever is wrong with the data, which `decode` then says in words.
        """
        reader = self._readers.get((type, schema_version))
        if reader is None:
            format = self._format(type)
            is_newest = schema_version == format.schema_version
            decode = format.decoder.decode if is_newest else partial(format.decode, schema_version)
            reader = self._readers[type, schema_version] = format.stream_type, decode
        return reader

    def _format(self, event_type: str) -> _Format:
        try:
            return self._formats[event_type]
        except KeyError:
            raise UnknownEventType(event_type) from None


def holds_nul(json: str) -> bool:
    """Whether JSON text holds the character U+0000, the one that PostgreSQL's jsonb refuses."""
    return "\\u0000" in json and UNESCAPED_NUL.search(json) is not None


def place(stream_id: UUID | None, position: int | None) -> str:
    """Where an event is, for a message."""
    return "" if stream_id is None else f"in stream {stream_id} at position {position}"


class _Format(msgspec.Struct, frozen=True):
    """How one event type is stored."""

    type: type[Event]
    stream_type: str
    schema_version: int
    """The newest, in which events are stored now."""
    upcasters: Sequence[Upcaster]
    decoder: msgspec.json.Decoder[Event]

    def decode(self, schema_version: int, data: str | bytes) -> Event:
        if schema_version == self.schema_version:
            return self.decoder.decode(data)
        return msgspec.convert(self._upcast(schema_version, data), self.type)

    def _upcast(self, schema_version: int, data: str | bytes) -> dict[str, Any]:
        if not 1 <= schema_version < self.schema_version:
            raise ValueError(f"this program knows versions 1 to {self.schema_version}")
        current = msgspec.json.decode(data, type=dict[str, Any])
        for upcaster in self.upcasters[schema_version - 1 :]:
            current = upcaster(current)
        return current


def _by_stream_type(aggregates: Iterable[Aggregate[Any, Any, Any]]) -> dict[str, Aggregate[Any, Any, Any]]:
    by_type: dict[str, Aggregate[Any, Any, Any]] = {}
    for aggregate in aggregates:
        if aggregate.stream_type in by_type:
            raise ConfigurationError(f"two aggregates have the stream type {aggregate.stream_type}")
        by_type[aggregate.stream_type] = aggregate
    return by_type


def _formats(aggregates: Iterable[Aggregate[Any, Any, Any]]) -> Iterable[_Format]:
    owners: dict[str, str] = {}
    for aggregate in aggregates:
        names = [event.__name__ for event in aggregate.events]
        for stray in aggregate.upcasters.keys() - set(names):
            raise ConfigurationError(f"{aggregate.stream_type} has upcasters for {stray}, which is none of its events")
        for event, name in zip(aggregate.events, names, strict=True):
            if name in owners:
                raise ConfigurationError(f"both {owners[name]} and {aggregate.stream_type} have an event {name}")
            owners[name] = aggregate.stream_type
            upcasters = aggregate.upcasters.get(name, ())
            yield _Format(event, aggregate.stream_type, len(upcasters) + 1, upcasters, msgspec.json.Decoder(event))
