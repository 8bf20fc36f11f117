"""The time machine on the terminal: what people read, and what programs get."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.user import USER
from app.domain.user_events import EmailChanged, UserCreated, UserUpdated
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.moment import Moment
from app.history_cli import moment
from app.wiring import AGGREGATES
from tests.projections.histories import NOON, History
from tests.test_cli import ANN, PATIENCE, hindsight

TENANT = UUID("01a1fd52-0ba9-705c-8262-e51d2b5f9ea6")
HOUR = timedelta(hours=1)


@pytest.fixture
def ann(url: str) -> dict[str, str]:
    """Settings for a log with a user at version 3: created at noon, renamed an hour later, and her address changed at two."""
    asyncio.run(filled(url))
    return {"HINDSIGHT_DATABASE_URL": url, "HINDSIGHT_DEADLINE_MS": str(PATIENCE * 1000)}


async def filled(url: str) -> None:
    database = await Database.open(url, timeout=PATIENCE)
    async with Batcher(database, Codec(AGGREGATES)) as batcher:
        history = History(batcher)
        created = UserCreated(username="ann", email="ann@example.org")
        await history.add(USER, ANN, created, tenant_id=TENANT, at=NOON)
        await history.add(USER, ANN, UserUpdated(full_name="Ann"), tenant_id=TENANT, at=NOON + HOUR)
        await history.add(USER, ANN, EmailChanged(email="ann@example.com"), tenant_id=TENANT, at=NOON + 2 * HOUR)
    await database.close()


def told(environment: dict[str, str], *args: str) -> Any:
    """What a program gets."""
    result = hindsight(environment, *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("at", ["2", "@2", "2026-01-01T13:30Z", "1 January 2026 14:30 +0100"])
def test_a_user_at_a_moment(ann: dict[str, str], at: str) -> None:
    then = told(ann, "user", str(ANN), "--at", at)
    assert (then["version"], then["fullName"], then["email"]) == (2, "Ann", "ann@example.org")
    now = told(ann, "user", str(ANN))
    assert (now["version"], now["email"], now["createdAt"]) == (3, "ann@example.com", "2026-01-01T12:00:00Z")


def test_history_diff_and_blame(ann: dict[str, str]) -> None:
    listed = told(ann, "history", str(ANN))
    assert [(each["version"], each["type"]) for each in listed] == [(1, "UserCreated"), (2, "UserUpdated"), (3, "EmailChanged")]
    assert (listed[2]["data"], listed[2]["actor"]) == ({"email": "ann@example.com"}, "test")
    assert [each["version"] for each in told(ann, "history", str(ANN), "--at", "2")] == [1, 2]
    (change,) = told(ann, "diff", str(ANN), "--from", "2")
    assert (change["field"], change["before"], change["after"], change["version"]) == (
        "email",
        "ann@example.org",
        "ann@example.com",
        3,
    )
    steps = told(ann, "diff", str(ANN), "--from", "1", "--to", "@3", "--steps")
    assert [(each["field"], each["version"]) for each in steps] == [("fullName", 2), ("email", 3)]
    blamed = {each["field"]: (each["type"], each["since"]) for each in told(ann, "blame", str(ANN))}
    assert blamed["email"] == ("EmailChanged", "2026-01-01T14:00:00Z")
    assert blamed["username"] == ("UserCreated", "2026-01-01T12:00:00Z")
    assert {each["field"]: each["version"] for each in told(ann, "blame", str(ANN), "--at", "1")}["email"] == 1


def test_events_and_their_numbers(ann: dict[str, str], tmp_path: Path) -> None:
    assert [each["type"] for each in told(ann, "events", "--limit", "2")] == ["EmailChanged", "UserUpdated"]
    asked = ("events", "--from", "2026-01-01T12:30Z", "--to", "2026-01-01T14:00Z", "--actor", "test", "--tenant", str(TENANT))
    assert [each["type"] for each in told(ann, *asked)] == ["UserUpdated"]
    assert [
        each["type"] for each in told(ann, "events", "--type", "UserCreated", "--type", "EmailChanged", "--oldest-first")
    ] == [
        "UserCreated",
        "EmailChanged",
    ]
    assert told(ann, "events", "--correlation", "nothing") == []
    assert told(ann, "stats") == [], "no process has folded them yet"
    nothing = tmp_path / "nothing.jsonl"
    nothing.touch()
    assert hindsight(ann, "import", nothing).exit_code == 0  # brings the read tables to the log's end
    assert {each["type"]: each["events"] for each in told(ann, "stats")} == {
        "UserCreated": 1,
        "UserUpdated": 1,
        "EmailChanged": 1,
    }
    assert told(ann, "stats", "--from", "2026-01-02") == told(ann, "stats", "--to", "2025-12-31") == []
    assert len(told(ann, "stats", "--from", "2026-01-01", "--to", "2026-01-01")) == 3


def doctor(environment: dict[str, str]) -> Any:
    """All findings, some of which may be bad news: in this log no read table is kept current."""
    return json.loads(hindsight(environment, "doctor", "--json").stdout)


def test_snapshots_are_made_counted_and_pruned(ann: dict[str, str]) -> None:
    made = told(ann, "snapshots", "create", str(ANN), "--reason", "before the audit")
    assert (made["version"], made["reason"], made["usable"]) == (3, "before the audit", True)
    assert hindsight(ann, "snapshots", "create", str(TENANT), "--reason", "x").stderr == f"Error: there is no stream {TENANT}\n"
    assert hindsight(ann, "snapshots", "create", str(ANN)).stderr.startswith("Error: Missing option '--reason'")
    stats = told(ann, "snapshots", "stats")
    assert (stats["snapshots"], stats["streams"], stats["by_hand"], stats["of_other_code"]) == (1, 1, 1, 0)
    assert hindsight(ann, "snapshots", "stats").stdout.split()[:2] == ["snapshots", "streams"]
    assert told(ann, "snapshots", "prune") == {"dropped": 0}
    found = {each["what"]: each["finding"] for each in doctor(ann)}
    assert found["cache"] == "10,000 states a process; no Redis is set"
    (cache,) = (each for each in doctor(ann | {"HINDSIGHT_REDIS_URL": "redis://127.0.0.1:1"}) if each["what"] == "cache")
    assert "Redis does not answer, which makes reads slower" in cache["finding"]
    assert found["snapshots"] == f"1 of 1 streams, {stats['bytes']} bytes"


def test_people_see_their_own_zone(ann: dict[str, str]) -> None:
    shown = hindsight(ann, "history", str(ANN), "--zone", "Asia/Tokyo").stdout
    assert "2026-01-01 21:00:00+09:00  UserCreated" in shown
    assert '{"email":"ann@example.com"}' in shown
    assert told(ann, "user", str(ANN), "--at", "2026-01-01 22:30", "--zone", "Asia/Tokyo")["version"] == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("user", str(TENANT)), f"there is no user, role or tenant {TENANT}"),
        (("history", str(TENANT), "--at", "7"), f"there is no user, role or tenant {TENANT} at that moment"),
        (("user", str(ANN), "--at", "2000-01-01"), f"there is no user, role or tenant {ANN} at that moment"),
        (("blame", str(ANN), "--at", "@0"), f"there is no user, role or tenant {ANN} at that moment"),
        (("user", str(ANN), "--at", "@4"), "at.position: 4 is past the end of the log, whose last position is 3"),
        (("diff", str(ANN), "--to", "@4"), "to.position: 4 is past the end of the log, whose last position is 3"),
        (("diff", str(ANN), "--from", "4"), "from.version: 4 is past the end"),
        (("diff", str(TENANT)), f"there is no user, role or tenant {TENANT}"),
        (("events", "--from", "2026-01-02", "--to", "2026-01-01"), "from: is after `to`"),
        (("stats", "--from", "2026-01-02", "--to", "2026-01-01"), "from: is after `to`"),
        (("history", str(ANN), "--at", "4"), "at.version: 4 is past the end"),
        (("diff", str(ANN), "--from", "3", "--to", "1"), "from: is after `to`"),
        (("blame", str(ANN), "--at", "whenever"), "at: 'whenever' is no moment: give a version such as 3"),
        (("blame", str(ANN), "--zone", "Nowhere"), "zone: there is no time zone 'Nowhere'"),
        (("events", "--type", "UserRenamed"), "types: there is no event type 'UserRenamed'"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(ann: dict[str, str], args: tuple[str, ...], message: str) -> None:
    result = hindsight(ann, *args)
    assert (result.exit_code, result.stdout) == (1, "") or result.exit_code == 2
    assert message in result.stderr


def test_moments_as_people_say_them() -> None:
    assert moment("at", None, None) is None
    assert moment("at", "3", None) == Moment(version=3)
    assert moment("at", "@1234", None) == Moment(position=1234)
    said = moment("at", "3 days ago", None)
    assert said is not None
    assert said.timestamp is not None
    assert abs(datetime.now(UTC) - timedelta(days=3) - said.timestamp) < timedelta(hours=2)
    with pytest.raises(BadInput, match="'@x' is no moment"):
        moment("at", "@x", None)
