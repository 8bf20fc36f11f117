"""Getting in and out, as a front end does it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.domain.user_events import LoginInfoUpdated, PasswordChanged
from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
WRONG = "wrong horse battery"
TOKENS = "accessToken refreshToken expiresAt user { id username } version position events { type }"
VIEWER = "{ viewer { name user { username } } }"


class Visitor:
    """Somebody who comes without a token."""

    def __init__(self, api: Api) -> None:
        self.api = api
        transport = httpx.ASGITransport(api.app, client=("198.51.100.9", 1))
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://hindsight", headers={"user-agent": "phone", "x-request-id": "1"}
        )

    async def send(self, document: str, bearer: str | None = None, **variables: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await self.http.post("/graphql", json={"query": document, "variables": variables}, headers=headers)

    async def ask(self, mutation: str, fields: str = TOKENS, bearer: str | None = None, **input: Any) -> dict[str, Any]:
        """The payload of a mutation."""
        kind = mutation[0].upper() + mutation[1:]
        document = (
            f"mutation ($input: {kind}Input!) {{ {mutation}(input: $input) {{ {fields} problems {{ code message path }} }} }}"
        )
        body = (await self.send(document, bearer, input=input)).json()
        assert "errors" not in body, body["errors"]
        return dict(body["data"][mutation])

    async def log_in(self, username: str = "ann", password: str = PASSWORD, **input: Any) -> dict[str, Any]:
        return await self.ask("login", username=username, password=password, **input)

    async def refresh(self, token: str) -> dict[str, Any]:
        return await self.ask("refresh", refreshToken=token)

    async def told(self, user: str) -> list[str]:
        """What the log says of the user since their creation."""
        events = await self.api.backend.store.stream_events(UUID(user), 2, 100)
        return [
            f"{each.type} {each.event.succeeded}" if isinstance(each.event, LoginInfoUpdated) else each.type for each in events
        ]


@pytest.fixture
async def visitor(still: Api) -> AsyncIterator[Visitor]:
    visitor = Visitor(still)
    async with visitor.http:
        yield visitor


@pytest.fixture
async def ann(visitor: Visitor) -> str:
    """The id of a user with a password."""
    return await visitor.api.user(await visitor.api.tenant(), "Ann", password=PASSWORD)


def codes(payload: dict[str, Any]) -> list[str]:
    return [problem["code"] for problem in payload["problems"]]


async def test_who_knows_the_password_gets_in_and_the_log_tells_from_where(visitor: Visitor, ann: str) -> None:
    payload = await visitor.log_in("ANN ")
    assert codes(payload) == []
    assert (payload["user"], payload["version"]) == ({"id": ann, "username": "Ann"}, 2)
    assert payload["events"] == [{"type": "LoginInfoUpdated"}]
    (noted,) = await visitor.api.backend.store.stream_events(UUID(ann), 2, 2)
    assert noted.event == LoginInfoUpdated(succeeded=True, ip_address="198.51.100.9", user_agent="phone")
    assert noted.metadata["actor"] == ann


async def test_the_access_token_says_who_asks_before_any_read_table_knows_them(visitor: Visitor) -> None:
    api = visitor.api
    tenant = await api.tenant()
    new = {"tenantId": tenant, "username": "bob", "email": "bob@example.com", "password": PASSWORD}
    id = (await api.change("createUser", "user { id }", **new))["user"]["id"]
    token = (await visitor.log_in("bob"))["accessToken"]
    answer = (await visitor.send("{ viewer { name allTenants } }", token)).json()
    assert answer["data"] == {"viewer": {"name": id, "allTenants": False}}


async def test_whatever_the_reason_a_failure_looks_the_same(visitor: Visitor, ann: str) -> None:
    tenant = await visitor.api.tenant("Other")
    await visitor.api.user(tenant, "twin", password=PASSWORD)
    await visitor.api.user(await visitor.api.tenant("Third"), "twin", password=PASSWORD)
    await visitor.api.user(tenant, "quiet")
    await visitor.api.done("deleteUser", id=await visitor.api.user(tenant, "gone", password=PASSWORD))
    await visitor.api.done("lockUser", id=await visitor.api.user(tenant, "held", password=PASSWORD), reason="audit")
    attempts: list[dict[str, Any]] = [
        {"username": "nobody", "password": PASSWORD},
        {"username": "ann", "password": WRONG},
        {"username": "ann", "password": PASSWORD, "tenantId": tenant},
        {"username": "twin", "password": PASSWORD},
        {"username": "quiet", "password": PASSWORD},
        {"username": "gone", "password": PASSWORD},
        {"username": "held", "password": PASSWORD},
    ]
    document = f"mutation ($input: LoginInput!) {{ login(input: $input) {{ {TOKENS} problems {{ code message path }} }} }}"
    answers = [await visitor.send(document, input=input) for input in attempts]
    assert len({answer.text for answer in answers}) == 1
    assert len({tuple((name, value) for name, value in answer.headers.items()) for answer in answers}) == 1
    payload = answers[0].json()["data"]["login"]
    assert codes(payload) == ["LOGIN_FAILED"]
    assert "5 minutes after 5 failures" in payload["problems"][0]["message"]
    assert payload == {
        **dict.fromkeys(("accessToken", "refreshToken", "expiresAt", "user", "version", "position")),
        **{
            "events": [],
            "problems": payload["problems"],
        },
    }
    assert answers[0].json()["extensions"]["position"] == 0
    assert codes(await visitor.log_in("twin", tenantId=tenant)) == []


async def test_a_password_is_as_good_when_it_was_changed_or_came_with_many_users(visitor: Visitor, ann: str) -> None:
    await visitor.api.done("changeUserPassword", id=ann, password="another password")
    assert codes(await visitor.log_in()) == ["LOGIN_FAILED"]
    assert codes(await visitor.log_in(password="another password")) == []
    tenant = await visitor.api.tenant("Other")
    users = [
        {"tenantId": tenant, "username": name, "email": f"{name}@example.com", "password": name * 4} for name in ("bob", "eve")
    ]
    await visitor.api.done("createUsers", users=users)
    assert [codes(await visitor.log_in(name, name * 4)) for name in ("bob", "eve")] == [[], []]


async def test_failures_lock_the_account_for_the_right_password_too(visitor: Visitor, ann: str) -> None:
    outcomes = [codes(await visitor.log_in(password=WRONG)) for _ in range(5)] + [codes(await visitor.log_in())]
    assert outcomes == [["LOGIN_FAILED"]] * 6
    assert await visitor.told(ann) == ["LoginInfoUpdated False"] * 5 + ["AccountLocked", "LoginInfoUpdated False"]


async def test_a_refresh_token_is_good_once_and_spent_again_ends_the_session(visitor: Visitor, ann: str) -> None:
    first = (await visitor.log_in())["refreshToken"]
    other = (await visitor.log_in())["refreshToken"]
    refreshed = await visitor.refresh(first)
    assert (codes(refreshed), refreshed["user"]["id"], refreshed["events"]) == ([], ann, [])
    second = refreshed["refreshToken"]
    assert (await visitor.send(VIEWER, refreshed["accessToken"])).json()["data"]["viewer"]["user"] == {"username": "Ann"}
    assert codes(await visitor.refresh(first)) == ["SESSION_ENDED"]
    assert codes(await visitor.refresh(second)) == ["SESSION_ENDED"]
    assert codes(await visitor.refresh(other)) == []


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 64, "A" * 5_000])
async def test_what_is_no_refresh_token_is_answered_like_a_spent_one(visitor: Visitor, token: str) -> None:
    payload = await visitor.refresh(token)
    assert payload["problems"] == [
        {"code": "SESSION_ENDED", "message": "The session has ended; log in again.", "path": ["input"]}
    ]


@pytest.mark.parametrize(
    ("mutation", "input"),
    [
        ("changeUserPassword", {"password": "another password"}),
        ("lockUser", {"reason": "audit"}),
        ("deleteUser", {}),
    ],
)
async def test_a_new_password_a_lock_and_a_deletion_end_every_session(
    visitor: Visitor, ann: str, mutation: str, input: dict[str, Any]
) -> None:
    tokens = [(await visitor.log_in())["refreshToken"] for _ in range(2)]
    tokens[0] = (await visitor.refresh(tokens[0]))["refreshToken"]
    await visitor.api.done(mutation, id=ann, **input)
    if mutation == "lockUser":
        await visitor.api.done("unlockUser", id=ann)
    if mutation == "deleteUser":
        await visitor.api.done("restoreUser", id=ann)
    assert [codes(await visitor.refresh(token)) for token in tokens] == [["SESSION_ENDED"]] * 2


async def test_other_changes_leave_sessions_alone(visitor: Visitor, ann: str) -> None:
    token = (await visitor.log_in())["refreshToken"]
    await visitor.api.done("changeUserEmail", id=ann, email="other@example.com")
    await visitor.log_in(password=WRONG)
    assert codes(await visitor.refresh(token)) == []


async def test_logging_out_ends_one_session_and_may_be_done_twice(visitor: Visitor, ann: str) -> None:
    here, there = [(await visitor.log_in())["refreshToken"] for _ in range(2)]
    for token in (here, here, "nonsense"):
        assert await visitor.ask("logout", "clientMutationId", refreshToken=token, clientMutationId="7") == {
            "clientMutationId": "7",
            "problems": [],
        }
    assert codes(await visitor.refresh(here)) == ["SESSION_ENDED"]
    assert codes(await visitor.refresh(there)) == []


async def change(visitor: Visitor, bearer: str, current: str, new: str) -> dict[str, Any]:
    return await visitor.ask("changeOwnPassword", TOKENS, bearer, currentPassword=current, newPassword=new)


async def test_a_user_changes_their_own_password_and_stays_in_here_only(visitor: Visitor, ann: str) -> None:
    here, there = await visitor.log_in(), await visitor.log_in()
    changed = await change(visitor, here["accessToken"], PASSWORD, "another password")
    assert codes(changed) == []
    assert [event["type"] for event in changed["events"]] == ["LoginInfoUpdated", "PasswordChanged"]
    (event,) = await visitor.api.backend.store.stream_events(UUID(ann), changed["version"], changed["version"])
    assert (event.event, event.metadata["actor"]) == (PasswordChanged(changed_by=ann), ann)
    assert [codes(await visitor.refresh(each["refreshToken"])) for each in (here, there)] == [["SESSION_ENDED"]] * 2
    assert codes(await visitor.refresh(changed["refreshToken"])) == []
    assert codes(await visitor.log_in(password="another password")) == []


async def test_not_to_know_the_own_password_counts_as_a_failed_login(visitor: Visitor, ann: str) -> None:
    bearer = (await visitor.log_in())["accessToken"]
    for _ in range(5):
        assert codes(await change(visitor, bearer, WRONG, "another password")) == ["LOGIN_FAILED"]
    assert (await visitor.told(ann))[1:] == ["LoginInfoUpdated False"] * 5 + ["AccountLocked"]
    assert codes(await change(visitor, bearer, PASSWORD, "another password")) == ["LOGIN_FAILED"]


async def test_a_password_that_is_too_short_and_a_caller_who_is_no_user_are_told(visitor: Visitor, ann: str) -> None:
    bearer = (await visitor.log_in())["accessToken"]
    (problem,) = (await change(visitor, bearer, PASSWORD, "short"))["problems"]
    assert (problem["code"], problem["path"]) == ("INVALID", ["input", "newPassword"])
    operator = visitor.api.http.headers["authorization"].removeprefix("Bearer ")
    assert codes(await change(visitor, operator, PASSWORD, "another password")) == ["NOT_ALLOWED"]
    assert await visitor.told(ann) == ["LoginInfoUpdated True"]


@pytest.mark.parametrize(
    "document",
    [
        "{ head }",
        'mutation { deleteUser(input: { id: "x" }) { version } }',
        'mutation { logout(input: { refreshToken: "x" }) { clientMutationId } deleteUser(input: { id: "x" }) { version } }',
        'mutation { ...all } fragment all on Mutation { deleteUser(input: { id: "x" }) { version } }',
        'mutation { changeOwnPassword(input: { currentPassword: "x", newPassword: "y" }) { version } }',
        "{ __schema { types { name } } }",
        "{",
        "{ nothing }",
    ],
)
async def test_nobody_gets_at_anything_beside_the_way_in(visitor: Visitor, document: str) -> None:
    answer = await visitor.send(document)
    assert answer.status_code == 401
    assert [error["extensions"]["code"] for error in answer.json()["errors"]] == ["UNAUTHENTICATED"]
    assert answer.headers["hindsight-position"] == "0"
