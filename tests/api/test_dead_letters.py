"""Parked events in the graph: shown, told by the rows that lack them, retried, skipped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api
from tests.projections.brittle import damage

pytestmark = pytest.mark.anyio

LETTERS = """query ($projection: String, $key: String, $skipped: Boolean) {
    deadLetters(projection: $projection, key: $key, skipped: $skipped) {
        totalCount
        nodes {
            projection generation key position eventType streamId error traceback attempts behind
            skippedBy skippedReason
        }
    }
}"""


@pytest.fixture
async def parked(still: Api) -> tuple[str, int]:
    """The id of a user, and the position at which an event of theirs waits with another behind it."""
    user = await still.user(await still.tenant())
    position = (await still.change("lockUser", id=user, reason="lost"))["position"]
    await still.change("updateUserProfile", id=user, fullName="Ann")
    await damage(still.backend.store, position)
    await still.backend.engine.catch_up()
    return user, position


async def letters(api: Api, **given: Any) -> list[dict[str, Any]]:
    found = (await api.ask(LETTERS, **given))["deadLetters"]
    assert found["totalCount"] == len(found["nodes"])
    return list(found["nodes"])


async def test_a_parked_event_is_shown_with_its_error(still: Api, parked: tuple[str, int]) -> None:
    user, position = parked
    (letter,) = await letters(still)
    assert "Traceback" in letter.pop("traceback")
    assert f"AccountLocked of schema version 1 in stream {user} at position {position} cannot be read" in letter.pop("error")
    assert letter == {
        "projection": "users",
        "generation": 1,
        "key": user,
        "position": position,
        "eventType": "AccountLocked",
        "streamId": user,
        "attempts": 1,
        "behind": 1,
        "skippedBy": None,
        "skippedReason": None,
    }
    assert len(await letters(still, projection="users", key=user)) == 1
    assert await letters(still, projection="roles") == []
    assert await letters(still, skipped=True) == []
    assert (await still.refused(LETTERS, projection="user"))["message"].startswith("projection: there is no projection 'user'")
    ready = (await still.http.get("/ready")).json()
    assert ready["projections"]["users"] == {"status": "running", "lag": 0, "parked": 1}


async def test_a_row_that_lacks_an_event_says_so(still: Api, parked: tuple[str, int]) -> None:
    user, position = parked
    document = """query ($before: Position!, $then: Position!) {
        now: users { nodes { lockReason incomplete tenant { incomplete } } }
        before: users(asOf: { position: $before }) { nodes { incomplete } }
        then: users(asOf: { position: $then }) { nodes { incomplete } }
        early: users(asOf: { timestamp: "2020-01-01T00:00:00Z" }) { nodes { incomplete } }
        late: users(asOf: { timestamp: "2120-01-01T00:00:00Z" }) { nodes { incomplete } }
    }"""
    assert await still.ask(document, before=position - 1, then=position) == {
        "now": {"nodes": [{"lockReason": None, "incomplete": True, "tenant": {"incomplete": False}}]},
        "before": {"nodes": [{"incomplete": False}]},
        "then": {"nodes": [{"incomplete": True}]},
        "early": {"nodes": []},
        "late": {"nodes": [{"incomplete": True}]},
    }
    alone = "query ($id: ID!) { user(id: $id) { incomplete before: at(moment: { version: 1 }) { incomplete } } }"
    assert await still.ask(alone, id=user) == {"user": {"incomplete": True, "before": {"incomplete": False}}}


async def test_asking_whether_rows_are_incomplete_takes_one_statement(still: Api, parked: tuple[str, int]) -> None:
    tenant = await still.tenant("Other")
    people = [{"tenantId": tenant, "username": f"user {n}", "email": f"u{n}@example.com"} for n in range(30)]
    await still.done("createUsers", users=people)
    answer, statements = await still.counting("{ users(first: 50) { nodes { id incomplete } } }")
    assert [node["id"] for node in answer["data"]["users"]["nodes"] if node["incomplete"]] == [parked[0]]
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT", "SELECT", "ROLLBACK"]
    _, statements = await still.counting("{ users(first: 50) { nodes { id } } }")
    assert len(statements) == 1


async def test_a_retry_folds_what_waits_once_it_can(still: Api, parked: tuple[str, int]) -> None:
    user, position = parked
    document = """mutation ($input: RetryDeadLettersInput!) {
        retryDeadLetters(input: $input) { applied parked clientMutationId problems { __typename code message path } }
    }"""

    async def retried(**input: Any) -> dict[str, Any]:
        return dict((await still.ask(document, input=input))["retryDeadLetters"])

    again = await retried(projection="users", clientMutationId="7")
    assert again == {"applied": 0, "parked": 1, "clientMutationId": "7", "problems": []}
    assert [letter["attempts"] for letter in await letters(still)] == [2]
    wrong = await retried(projection="users", key="nobody")
    assert (wrong["applied"], wrong["parked"]) == (0, None)
    assert wrong["problems"] == [
        {"__typename": "Invalid", "code": "INVALID", "message": "no event of users waits there", "path": ["input", "key"]}
    ]
    (problem,) = (await retried(projection="people"))["problems"]
    assert problem["path"] == ["input", "projection"]

    await damage(still.backend.store, position, '{"reason": "lost", "loginAttempts": 0}')
    done = await retried(projection="users", key=user)
    assert done == {"applied": 2, "parked": 0, "clientMutationId": None, "problems": []}
    assert await letters(still) == []
    shown = await still.ask("query ($id: ID!) { user(id: $id) { lockReason fullName version incomplete } }", id=user)
    assert shown == {"user": {"lockReason": "lost", "fullName": "Ann", "version": 3, "incomplete": False}}


async def test_a_skipped_event_is_kept_with_the_reason(still: Api, parked: tuple[str, int]) -> None:
    user, position = parked
    document = """mutation ($input: SkipDeadLetterInput!) {
        skipDeadLetter(input: $input) { applied parked problems { message path } }
    }"""

    async def skipped(**input: Any) -> dict[str, Any]:
        return dict((await still.ask(document, input={"projection": "users", "key": user, **input}))["skipDeadLetter"])

    for field, input in (("reason", {"position": position, "reason": " "}), ("position", {"position": 1, "reason": "broken"})):
        (problem,) = (await skipped(**input))["problems"]
        assert problem["path"] == ["input", field]
    assert await skipped(position=position, reason="broken") == {"applied": 1, "parked": 0, "problems": []}
    assert await letters(still) == []
    (kept,) = await letters(still, skipped=True)
    assert (kept["position"], kept["skippedBy"], kept["skippedReason"]) == (position, "operator", "broken")
    shown = await still.ask("query ($id: ID!) { user(id: $id) { lockReason fullName incomplete } }", id=user)
    assert shown == {"user": {"lockReason": None, "fullName": "Ann", "incomplete": False}}
