"""A line of an export states its event exactly, and a line that states none is refused with the reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cloudevents import OWN_SOURCE, read_line, write_line
from app.domain.aggregate import Event
from app.domain.tenant import TenantCreated
from app.domain.user_events import RolesAssigned, UserCreated, UserDeleted
from app.eventstore.bulk import Fact
from app.eventstore.recorded import RecordedEvent
from tests.test_transfer import CODEC, event_of

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
optional_texts = st.none() | texts
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(UserCreated, username=texts, email=texts, full_name=optional_texts, phone=optional_texts),
    st.builds(RolesAssigned, role_ids=st.lists(st.uuids(), max_size=3).map(tuple), assigned_by=texts),
    st.builds(UserDeleted, deleted_by=texts, reason=optional_texts),
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "actor": texts,
        "correlationId": texts,
        "causationId": texts,
        "ipAddress": texts,
        "userAgent": texts,
        "source": texts.filter(lambda source: source not in ("", OWN_SOURCE)),
        "ticket": texts,
        "attempt": st.integers(-(2**31), 2**31 - 1),
        "dryrun": st.booleans(),
    },
)


@st.composite
def recorded_events(draw: st.DrawFn) -> RecordedEvent:
    event = draw(events)
    at = draw(st.datetimes(timezones=st.just(UTC)))
    return RecordedEvent(
        position=draw(st.integers(1)),
        event_id=draw(st.uuids()),
        stream_id=draw(st.uuids()),
        stream_type="User",
        version=draw(st.integers(1, 999_999_999)),
        type=type(event).__name__,
        schema_version=1,
        tenant_id=draw(st.uuids()),
        event=event,
        metadata_json=msgspec.json.encode(draw(metadata)).decode(),
        occurred_at=at,
        recorded_at=at,
    )


@given(recorded_events())
def test_what_is_written_reads_as_it_was(recorded: RecordedEvent) -> None:
    fact = read_line(write_line(recorded, CODEC), 7)
    assert fact.line == 7
    assert event_of(fact) == recorded.event
    assert fact.metadata == recorded.metadata
    for name in ("event_id", "stream_id", "stream_type", "version", "type", "schema_version", "tenant_id", "occurred_at"):
        assert getattr(fact, name) == getattr(recorded, name), name


GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "9be72f52-11b2-505a-8b50-23d57c5d7a3a",
    "source": "kubernetes/org",
    "type": "TenantCreated",
    "subject": "Tenant/2e91f353-183b-5dc7-a794-f4b6a20de90f",
    "sequence": "1",
    "time": "2018-08-23T04:11:39Z",
    "datacontenttype": "application/json",
    "tenantid": "2e91f353-183b-5dc7-a794-f4b6a20de90f",
    "actor": "u4a702e8e6f",
    "data": {"name": "kubernetes"},
}


def line(**changes: Any) -> bytes:
    """The good line with other attributes; an attribute of `...` is left out."""
    return msgspec.json.encode({name: value for name, value in (GOOD | changes).items() if value is not ...})


def read(**changes: Any) -> Fact:
    return read_line(line(**changes), 1)


def test_the_good_line_is_good() -> None:
    fact = read()
    assert (fact.stream_type, fact.version, fact.schema_version) == ("Tenant", 1, 1)
    assert fact.tenant_id == UUID("2e91f353-183b-5dc7-a794-f4b6a20de90f")
    assert fact.metadata == {"actor": "u4a702e8e6f", "source": "kubernetes/org"}


def test_a_time_of_any_offset_is_kept_in_utc() -> None:
    occurred_at = read(time="2018-08-23T06:11:39.25+02:00").occurred_at
    assert occurred_at == datetime(2018, 8, 23, 6, 11, 39, 250_000, timezone(timedelta(hours=2)))
    assert occurred_at.utcoffset() == timedelta(0)


def test_unknown_attributes_become_metadata_and_null_is_absent() -> None:
    fact = read(traceparent="00-4bf9", attempt=2, dryrun=False, nothing=None)
    assert fact.metadata == dict(read().metadata) | {"traceparent": "00-4bf9", "attempt": 2, "dryrun": False}


def test_our_own_source_says_nothing() -> None:
    assert "source" not in read(source=OWN_SOURCE).metadata


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    assert event_of(read(data={"name": "\\u0000"})) == TenantCreated(name="\\u0000")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, r"'0\.3'.*specversion"),
        ({"id": "1"}, "UUID.*id"),
        ({"id": ...}, "missing required field `id`"),
        ({"source": ""}, "length >= 1.*source"),
        ({"type": ...}, "missing required field `type`"),
        ({"type": 5}, "Expected `str`, got `int`.*type"),
        ({"subject": "Tenant"}, "subject 'Tenant' is not <StreamType>/<UUID>"),
        ({"subject": "Tenant/7"}, "subject 'Tenant/7' is not <StreamType>/<UUID>"),
        ({"subject": "/2e91f353-183b-5dc7-a794-f4b6a20de90f"}, "is not <StreamType>/<UUID>"),
        ({"sequence": 1}, "Expected `str`, got `int`.*sequence"),
        ({"sequence": "0"}, "sequence"),
        ({"sequence": "01"}, "sequence"),
        ({"sequence": "1\n"}, "sequence"),
        ({"sequence": "99999999999"}, "sequence"),
        ({"time": "2018-08-23T04:11:39"}, "timezone.*time"),
        ({"time": "yesterday"}, "RFC3339.*time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "out of range"),
        ({"datacontenttype": "text/xml"}, "text/xml.*datacontenttype"),
        ({"tenantid": ...}, "missing required field `tenantid`"),
        ({"schemaversion": 0}, "schemaversion"),
        ({"data": ...}, "missing required field `data`"),
        ({"actor": 5}, "actor"),
        ({"Trace": "x"}, "attribute 'Trace': a name holds only a-z and 0-9"),
        ({"data_base64": "eA=="}, "attribute 'data_base64'"),
        ({"trace": {"id": 1}}, "attribute 'trace': Expected `str | int | bool | null`, got `object`"),
        ({"data": {"name": "\0"}}, r"U\+0000"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(**changes)


@pytest.mark.parametrize("text", [b"", b"nonsense", b'{"specversion"', b"[]", b"\xff", b'"text"'])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"not JSON|Expected `object`"):
        read_line(text, 1)


@given(st.binary(max_size=40) | st.from_type(dict[str, int | str | None]).map(msgspec.json.encode))
def test_nothing_else_is_raised_whatever_the_line(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_line(text, 1)
