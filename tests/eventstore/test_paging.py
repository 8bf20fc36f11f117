"""Pages: what may be asked for, and that a cursor fits its query."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest, decode_cursor, encode_cursor, fingerprint

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"first": 0}, "first: must be from 1 to 100, not 0"),
        ({"first": 101}, "first: must be from 1 to 100, not 101"),
        ({"last": -1}, "last: must be from 1 to 100, not -1"),
        ({"first": 1, "last": 1}, "first: cannot be combined with last"),
    ],
)
def test_a_page_that_cannot_be_is_refused(asked: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadInput, match=rule):
        PageRequest.checked(asked.get("first"), None, asked.get("last"), None)


def test_a_page_has_20_items_unless_told() -> None:
    assert PageRequest.checked(None, None, None, None).size == 20
    assert PageRequest.checked(100, None, None, None).size == 100
    assert PageRequest.checked(None, None, 7, None).size == 7


VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.uuids()


@given(st.lists(VALUES | st.datetimes(timezones=st.just(UTC))))
def test_a_cursor_gives_back_its_values(values: list[Any]) -> None:
    types = [type(value) | None if value is not None else None for value in values]
    assert decode_cursor("after", encode_cursor("mark", values), "mark", types) == values


@pytest.mark.parametrize("cursor", ["", "!", "nonsense", "bm9uc2Vuc2U", "W10", "e30", "é", "a" * 1000])
def test_text_that_is_no_cursor_is_refused_under_its_argument(cursor: str) -> None:
    with pytest.raises(BadInput, match=r"before: .* is not a cursor"):
        decode_cursor("before", cursor, "mark", [int])


def test_a_cursor_of_another_query_is_refused() -> None:
    cursor = encode_cursor(fingerprint("users", "by name"), ["ann"])
    for mark, types in ((fingerprint("users", "by age"), [str]), (fingerprint("users", "by name"), [str, int])):
        with pytest.raises(BadInput, match="after: is a cursor of another filter or order"):
            decode_cursor("after", cursor, mark, types)
    with pytest.raises(BadInput, match="is not a cursor"):
        decode_cursor("after", cursor, fingerprint("users", "by name"), [UUID])


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({}, "moment: takes exactly one of version, position and timestamp, not none"),
        ({"version": 1, "position": 1}, "not version and position"),
        ({"version": -1}, "version: counts from 1"),
        ({"position": -1}, "position: counts from 1"),
        ({"timestamp": datetime(2026, 3, 1, 12)}, "timestamp: needs an offset"),  # noqa: DTZ001 - that is the mistake
    ],
)
def test_a_moment_that_cannot_be_is_refused(asked: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadInput, match=rule):
        Moment(**asked)


def test_a_moment_may_have_any_offset() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=9)))
    assert Moment(timestamp=there) == Moment(timestamp=NOON)
