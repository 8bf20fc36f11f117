"""One event as a line of JSON in the CloudEvents format, version 1.0: what `hindsight import` reads and `export` writes.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

`subject` is `<StreamType>/<stream id>`, `sequence` the version in the stream, `time` when it happened. The extension
attributes `tenantid`, `schemaversion` (1 when absent), `actor`, `correlationid`, `causationid`, `ipaddress` and `useragent`
are ours; any other is kept in the event's metadata under its own name, and so is `source`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from app.eventstore.bulk import Fact
from app.eventstore.codec import Codec, holds_nul
from app.eventstore.recorded import RecordedEvent

OWN_SOURCE = "hindsight"
"""The `source` of an event that came from no import. It says nothing, so it is not kept in the metadata."""

METADATA = {
    "actor": "actor",
    "correlationid": "correlationId",
    "causationid": "causationId",
    "ipaddress": "ipAddress",
    "useragent": "userAgent",
}
"""Attribute to metadata key; attribute names may hold only a-z and 0-9."""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line; its unknown attributes are looked at apart."""

    specversion: Literal["1.0"]
    id: UUID
    source: Annotated[str, msgspec.Meta(min_length=1)]
    type: Annotated[str, msgspec.Meta(min_length=1)]
    subject: str
    sequence: Annotated[str, msgspec.Meta(pattern=r"\A[1-9][0-9]{0,8}\Z")]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    datacontenttype: Literal["application/json"] = "application/json"
    tenantid: UUID
    schemaversion: Annotated[int, msgspec.Meta(ge=1, le=32767)] = 1
    actor: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    ipaddress: str | None = None
    useragent: str | None = None
    data: msgspec.Raw


_ATTRIBUTES = frozenset(CloudEvent.__struct_fields__)
_EXTENSION_NAME = re.compile(r"[a-z0-9]+")

_decode_event = msgspec.json.Decoder(CloudEvent).decode
_decode_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_extension = msgspec.json.Decoder(str | int | bool | None).decode
_encode = msgspec.json.Encoder().encode


def read_line(line: bytes, number: int) -> Fact:
    """The fact that a line states; `number` is the line's. Raises ValueError that says what is wrong with it."""
    if holds_nul(line.decode("latin-1")):  # an escape is ASCII, whatever is around it
        raise ValueError("holds the character U+0000, which PostgreSQL cannot store")
    try:
        event = _decode_event(line)
        extensions = _extensions(line)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    stream_type, stream_id = _subject(event.subject)
    return Fact(
        line=number,
        event_id=event.id,
        stream_id=stream_id,
        stream_type=stream_type,
        version=int(event.sequence),
        type=event.type,
        schema_version=event.schemaversion,
        tenant_id=event.tenantid,
        data=bytes(event.data),
        metadata=_metadata(event, extensions),
        occurred_at=_utc(event.time),
    )


def write_line(recorded: RecordedEvent, codec: Codec) -> bytes:
    """The line, with its line feed, that states a recorded event, in the newest version of the event's schema."""
    type, schema_version, data = codec.encode(recorded.event)
    metadata = recorded.metadata
    line: dict[str, Any] = {
        "specversion": "1.0",
        "id": recorded.event_id,
        "source": metadata.pop("source", OWN_SOURCE),
        "type": type,
        "subject": f"{recorded.stream_type}/{recorded.stream_id}",
        "sequence": str(recorded.version),
        "time": recorded.occurred_at.astimezone(UTC),
        "datacontenttype": "application/json",
        "tenantid": recorded.tenant_id,
    }
    if schema_version != 1:
        line["schemaversion"] = schema_version
    for attribute, key in METADATA.items():
        if key in metadata:
            line[attribute] = metadata.pop(key)
    line.update(sorted(metadata.items()))
    line["data"] = msgspec.Raw(data)
    return _encode(line) + b"\n"


def _extensions(line: bytes) -> dict[str, str | int | bool]:
    attributes = _decode_attributes(line)
    extensions = {}
    for name in attributes.keys() - _ATTRIBUTES:
        if not _EXTENSION_NAME.fullmatch(name):
            raise ValueError(f"attribute {name!r}: a name holds only a-z and 0-9")
        try:
            value = _decode_extension(attributes[name])
        except msgspec.ValidationError as error:
            raise ValueError(f"attribute {name!r}: {error}") from None
        if value is not None:  # the same as absent, says the JSON format
            extensions[name] = value
    return extensions


def _metadata(event: CloudEvent, extensions: dict[str, str | int | bool]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        key: value for attribute, key in METADATA.items() if (value := getattr(event, attribute)) is not None
    }
    if event.source != OWN_SOURCE:
        metadata["source"] = event.source
    return metadata | extensions


def _subject(subject: str) -> tuple[str, UUID]:
    stream_type, slash, stream_id = subject.partition("/")
    try:
        if stream_type and slash:
            return stream_type, UUID(stream_id)
    except ValueError:
        pass
    raise ValueError(f"subject {subject!r} is not <StreamType>/<UUID>")


def _utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"time {time.isoformat()} is out of range in UTC") from None
