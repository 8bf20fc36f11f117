"""Putting a user back to how they were: by new events, as many as differ, or not at all."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

AFTER = "user { email fullName status roles { id } } events { type } version"


async def test_a_user_is_again_as_they_were(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant, "reader", "read")
    id = await api.user(tenant, "ann", roleIds=[role], fullName="Ann")
    await api.done("changeUserEmail", id=id, email="elsewhere@example.com")
    await api.done("assignRoles", id=id, roleIds=[])
    deleted = await api.done("deleteUser", "position user { deletedAt }", id=id)
    back = await api.done("revertUser", AFTER, id=id, at={"version": 2})
    assert back["user"] == {"email": "ann@example.com", "fullName": "Ann", "status": "ACTIVE", "roles": [{"id": role}]}
    assert [each["type"] for each in back["events"]] == ["UserRestored", "EmailChanged", "RolesAssigned"]
    assert back["version"] == 8
    again = await api.done("revertUser", AFTER, id=id, at={"version": 2})
    assert (again["events"], again["version"]) == ([], 8)
    gone = await api.done("revertUser", AFTER, id=id, at={"position": deleted["position"]})
    assert gone["user"]["status"] == "DELETED"
    assert (await api.done("revertUser", AFTER, id=id, at={"version": 8}))["user"] == back["user"]


async def test_the_same_key_reverts_once(api: Api) -> None:
    id = await api.user(await api.tenant(), "ann", fullName="Ann")
    await api.done("updateUserProfile", id=id, fullName="Bob")
    asked = {"id": id, "at": {"version": 1}, "idempotencyKey": f"back {id}"}
    first = await api.done("revertUser", AFTER, **asked)
    await api.done("updateUserProfile", id=id, fullName="Cid")
    assert await api.done("revertUser", AFTER, **asked) == first
    other = await api.problem("revertUser", **{**asked, "at": {"version": 2}})
    assert other["code"] == "IDEMPOTENCY_MISMATCH"


async def test_a_name_that_somebody_else_has_by_now(api: Api) -> None:
    tenant = await api.tenant()
    id = await api.user(tenant, "ann")
    await api.done("deleteUser", id=id)
    await api.user(tenant, "ann", email="other@example.com")
    problem = await api.problem("revertUser", id=id, at={"version": 1})
    assert (problem["__typename"], problem["field"], problem["value"]) == ("AlreadyTaken", "username", "ann")
    assert (await api.ask("query ($id: ID!) { user(id: $id) { version } }", id=id))["user"]["version"] == 2


async def test_a_role_that_is_retired_by_now(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant, "reader", "read")
    id = await api.user(tenant, "ann", roleIds=[role])
    await api.done("assignRoles", id=id, roleIds=[])
    await api.done("retireRole", id=role)
    problem = await api.problem("revertUser", id=id, at={"version": 2})
    assert (problem["__typename"], problem["code"]) == ("Refused", "ROLE_IS_RETIRED")


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        ({"version": 0}, "the user did not exist at that moment"),
        ({"timestamp": "2020-01-01T00:00:00Z"}, "the user did not exist at that moment"),
        ({"version": 2}, "2 is past the end of stream"),
        ({"position": 2**50}, "is past the end of the log"),
    ],
)
async def test_a_moment_that_cannot_be(api: Api, at: dict[str, object], rule: str) -> None:
    id = await api.user(await api.tenant(), "ann")
    problem = await api.problem("revertUser", id=id, at=at)
    assert (problem["__typename"], problem["path"]) == ("Invalid", ["input", "at"])
    assert rule in problem["message"]
