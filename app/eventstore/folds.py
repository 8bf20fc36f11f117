"""Folding events to states, and packing states, with what tells whether other code folded them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import zstandard

from app.domain.aggregate import Stream
from app.errors import UnreadableEvent
from app.eventstore.codec import Codec, place
from app.eventstore.sources import digest, sources

log = logging.getLogger(__name__)


class Folds:
    """What this program's code makes of streams."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._compress = zstandard.ZstdCompressor(write_checksum=True).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoders: dict[str, msgspec.msgpack.Decoder[Stream[Any]]] = {
            name: msgspec.msgpack.Decoder(Stream[aggregate.state])  # type: ignore[name-defined]  # the class is known when this runs
            for name, aggregate in codec.aggregates.items()
        }

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """By stream type, a hash of all that decides what a state is: fold and state's fields, event versions, upcasters."""
        return {name: self._fingerprint(name) for name in self._codec.aggregates}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all of them."""
        return digest(self.fingerprints.values())

    def _fingerprint(self, stream_type: str) -> str:
        aggregate = self._codec.aggregates[stream_type]
        names = sorted(event.__name__ for event in aggregate.events)
        versions = (f"{name} {self._codec.schema_version(name)}" for name in names)
        upcasters = (upcaster for name in names for upcaster in aggregate.upcasters.get(name, ()))
        return digest((stream_type, *versions, *sources((Stream, aggregate.state, aggregate.evolve, *upcasters))))

    def fold(self, stream_type: str, stream_id: UUID, state: Any, events: Iterable[asyncpg.Record]) -> Any:
        """The state after events: rows that end with position, type, schema version, data, time. Raises UnreadableEvent."""
        evolve, reader = self._codec.aggregates[stream_type].evolve, self._codec.reader
        for *_, position, type, schema_version, data, occurred_at in events:
            try:
                state = evolve(state, reader(type, schema_version)[1](data), occurred_at)
            except Exception as error:  # upcasters and evolve are the aggregates' code, and what they meet is old
                self._codec.decode(type, schema_version, data, stream_id=stream_id, position=position)
                raise UnreadableEvent(f"{type} {place(stream_id, position)} cannot be folded: {error!r}") from error
        return state

    def pack(self, stream: Stream[Any]) -> bytes:
        """The stream, compressed."""
        return self._compress(self._encode(stream))

    def unpack(self, stream_type: str, id: UUID, packed: bytes) -> Stream[Any] | None:
        """The stream that was packed; None, and a line in the log, for anything else."""
        try:
            stream = self._decoders[stream_type].decode(self._decompress(packed))
            if stream.id != id:
                raise ValueError(f"it is of stream {stream.id}")
        except Exception as error:  # whatever is wrong with it, the events are there
            log.warning("a kept state of stream %s cannot be used, its events are folded instead: %r", id, error)
            return None
        return stream
