"""Stored events are read for ever: whatever a release wrote, every later one understands."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.aggregate import Aggregate, Event
from app.errors import BadInput, ConfigurationError, UnknownEventType, UnreadableEvent
from app.eventstore.codec import Codec
from tests.eventstore.job import JOB, JobCompleted, JobCreated, JobStarted

JOBS = Codec([JOB])

RELEASED = [
    ("JobCreated", 1, '{"name": "sweep"}', JobCreated(name="sweep")),
    ("JobStarted", 1, '{"worker": "ann"}', JobStarted(worker_name="ann", attempt=1)),
    ("JobStarted", 2, '{"workerName": "ann"}', JobStarted(worker_name="ann", attempt=1)),
    ("JobStarted", 3, '{"workerName": "ann", "attempt": 2}', JobStarted(worker_name="ann", attempt=2)),
    ("JobCompleted", 1, '{"result": "clean"}', JobCompleted(result="clean")),
    ("JobCompleted", 1, "{}", JobCompleted()),
    ("JobCompleted", 1, '{"result": null, "of a later release": true}', JobCompleted()),
]


@pytest.mark.parametrize(("type", "schema_version", "data", "event"), RELEASED)
def test_every_version_ever_released_is_read_as_the_newest(type: str, schema_version: int, data: str, event: Event) -> None:
    assert JOBS.decode(type, schema_version, data) == event


def test_no_version_ever_released_is_left_out() -> None:
    samples = {(type, schema_version) for type, schema_version, _, _ in RELEASED}
    assert samples == {(type, version) for type in JOBS.event_types for version in range(1, JOBS.schema_version(type) + 1)}


def test_stored_names_are_camel_case_and_stored_types_class_names() -> None:
    assert JOBS.encode(JobStarted(worker_name="ann", attempt=2)) == ("JobStarted", 3, '{"workerName":"ann","attempt":2}')


@given(st.from_type(JobCreated) | st.from_type(JobStarted) | st.from_type(JobCompleted))
def test_what_is_written_is_read(event: Event) -> None:
    try:
        assert JOBS.decode(*JOBS.encode(event)) == event
    except BadInput:
        assert any("\0" in value for value in msgspec.structs.astuple(event) if isinstance(value, str))


@pytest.mark.parametrize(("name", "why"), [("a\0b", r"U\+0000"), ("\\\0", r"U\+0000"), ("\ud800", "not Unicode")])
def test_text_that_cannot_be_stored_is_refused(name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        JOBS.encode(JobCreated(name=name))


def test_text_that_looks_like_an_escape_is_stored() -> None:
    event = JobCreated(name=r"\u0000 \\u0000")
    assert JOBS.decode(*JOBS.encode(event)) == event


def test_an_unknown_type_is_named_with_its_place() -> None:
    stream_id = UUID(int=7)
    with pytest.raises(UnknownEventType, match=f"'JobForged' in stream {stream_id} at position 9"):
        JOBS.decode("JobForged", 1, "{}", stream_id=stream_id, position=9)
    with pytest.raises(UnknownEventType, match=r"'JobForged'$"):
        JOBS.stream_type("JobForged")
    with pytest.raises(UnknownEventType):
        JOBS.encode(Event())


@pytest.mark.parametrize(
    ("type", "schema_version", "data", "why"),
    [
        ("JobCreated", 1, "{}", "missing required field `name`"),
        ("JobCreated", 1, '{"name": 5}', r"Expected `str`, got `int` - at `\$.name`"),
        ("JobCreated", 1, "[]", "Expected `object`"),
        ("JobCreated", 1, '{"name"', "truncated"),
        ("JobCreated", 2, "{}", "JobCreated of schema version 2 .* versions 1 to 1"),
        ("JobStarted", 4, "{}", "versions 1 to 3"),
        ("JobStarted", 0, "{}", "versions 1 to 3"),
        ("JobStarted", 1, "{}", "'worker'"),
    ],
)
def test_an_event_that_cannot_be_read_says_why_and_where(type: str, schema_version: int, data: str, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why) as unreadable:
        JOBS.decode(type, schema_version, data, stream_id=UUID(int=7), position=9)
    assert f"in stream {UUID(int=7)} at position 9" in str(unreadable.value)


def test_the_same_thing_declared_twice_is_refused() -> None:
    def another(**changes: Any) -> Aggregate[Any, Any, Any]:
        return msgspec.structs.replace(JOB, **changes)

    with pytest.raises(ConfigurationError, match="two aggregates have the stream type Job"):
        Codec([JOB, JOB])
    with pytest.raises(ConfigurationError, match="both Job and Task have an event JobCreated"):
        Codec([JOB, another(stream_type="Task")])
    with pytest.raises(ConfigurationError, match="Job has upcasters for JobForged"):
        Codec([another(upcasters={"JobForged": ()})])


def test_events_know_their_streams() -> None:
    assert JOBS.stream_type("JobStarted") == "Job"
    assert list(JOBS.event_types.items()) == [
        ("JobCreated", JobCreated),
        ("JobStarted", JobStarted),
        ("JobCompleted", JobCompleted),
    ]
