"""The six routes for scripts: the same answers as the graph's, in the form that the scripts know."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio


class Ann(NamedTuple):
    """A user who was renamed twice: versions 1 to 3."""

    id: str
    renamed_at: str


@pytest.fixture
async def ann(api: Api) -> Ann:
    id = await api.user(await api.tenant(), "ann")
    renamed = await api.done("updateUserProfile", "user { updatedAt }", id=id, fullName="Ann A")
    await api.done("updateUserProfile", id=id, fullName="Ann B")
    return Ann(id, renamed["user"]["updatedAt"])


async def get(api: Api, path: str, **parameters: Any) -> Any:
    """The data of a successful answer."""
    response = await api.http.get(path, params=parameters or None)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json"), response.text
    answer = response.json()
    assert answer["success"]
    assert answer["message"]
    return answer["data"]


async def test_the_history_of_a_user(api: Api, ann: Ann) -> None:
    history = (await get(api, f"/events/user/{ann.id}/history"))["history"]
    assert [each["type"] for each in history["nodes"]] == ["UserCreated", "UserUpdated", "UserUpdated"]
    assert (history["totalCount"], history["nodes"][1]["data"], history["nodes"][1]["actor"]) == (
        3,
        {"fullName": "Ann A"},
        "operator",
    )
    first = (await get(api, f"/events/user/{ann.id}/history", limit=2))["history"]
    rest = (await get(api, f"/events/user/{ann.id}/history", limit=2, after=first["pageInfo"]["endCursor"]))["history"]
    assert first["nodes"] + rest["nodes"] == history["nodes"]


async def test_a_user_folded_again(api: Api, ann: Ann) -> None:
    whole = (await get(api, f"/events/user/{ann.id}/replay"))["replay"]
    assert (whole["version"], whole["state"]["fullName"], whole["differences"]) == (3, "Ann B", [])
    second = (await get(api, f"/events/user/{ann.id}/replay/version/2"))["replay"]
    assert (second["version"], second["state"]["fullName"]) == (2, "Ann A")
    then = await get(api, f"/events/user/{ann.id}/replay/timestamp", timestamp=ann.renamed_at)
    assert then["replay"]["state"]["fullName"] == "Ann A"
    path = f"/events/user/{ann.id}/replay/timestamp?timestamp=2120-01-01T00:00:00+02:00"
    assert (await get(api, path))["replay"]["version"] == 3
    before = await get(api, f"/events/user/{ann.id}/replay/timestamp", timestamp="2020-01-01T00:00:00Z")
    assert (before["replay"]["state"], before["replay"]["version"]) == (None, 0)


async def test_numbers_and_the_newest_events(api: Api, ann: Ann) -> None:
    stats = await get(api, "/events/stats")
    assert stats["total"] == sum(each["count"] for each in stats["byType"]) >= 4
    recent = await get(api, "/events/recent", eventType="UserUpdated", limit=1)
    assert [(each["type"], each["streamId"]) for each in recent["nodes"]] == [("UserUpdated", ann.id)]
    two_types = await get(api, "/events/recent", eventType=["UserUpdated", "UserCreated"], limit=3)
    assert [each["type"] for each in two_types["nodes"]] == ["UserUpdated", "UserUpdated", "UserCreated"]
    assert len((await get(api, "/events/recent"))["nodes"]) >= 4


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/events/user/01a1fd54-7c1e-7d3c-8f7a-64f0f8a4b9d2/history", 404, "there is no user"),
        ("/events/user/ann/replay", 400, "an id is a UUID"),
        ("/events/user/{ann}/replay/version/4", 400, "at.version: 4 is past the end"),
        ("/events/user/{ann}/replay/version/two", 400, "version: 'two' is no version"),
        ("/events/user/{ann}/replay/timestamp", 400, "timestamp: is needed"),
        ("/events/user/{ann}/replay/timestamp?timestamp=yesterday", 400, "a time is an RFC 3339 text"),
        ("/events/user/{ann}/history?limit=101", 400, "limit: must be from 1 to 100, not '101'"),
        ("/events/user/{ann}/history?after=nonsense", 400, "after"),
        ("/events/recent?limit=0", 400, "limit: must be from 1 to 100"),
        ("/events/recent?eventType=UserRenamed", 400, "there is no event type 'UserRenamed'"),
    ],
)
async def test_what_cannot_be_answered(api: Api, ann: Ann, path: str, status: int, message: str) -> None:
    response = await api.http.get(path.replace("{ann}", ann.id))
    answer = response.json()
    assert (response.status_code, answer["success"], answer["data"]) == (status, False, None)
    assert message in answer["message"]


async def test_they_are_for_reading_only(api: Api) -> None:
    assert (await api.http.post("/events/recent")).status_code == 405
