"""Proof of access: the answer, and the events from which somebody else comes to the same one."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

PROOF = """query ($user: ID!, $at: Moment!, $permission: String, $role: ID) {
    accessProof(userId: $user, at: $at, permission: $permission, roleId: $role) {
        granted reason user { status version } deleted { version }
        roles {
            role { id name permissions } held permits given { version actor } taken { version }
            definition { version ... on RoleDefined { permissions } }
        }
    }
}"""


class Case(NamedTuple):
    """A user who had a role from version 2, lost it with 3, had it again with 4, and was deleted with 5."""

    user: str
    reader: str
    other: str
    widened: int
    """The position from which the reader may write, too: after version 2."""


@pytest.fixture
async def case(api: Api) -> Case:
    tenant = await api.tenant()
    reader, other = await api.role(tenant, "reader", "read"), await api.role(tenant, "other", "rest")
    user = await api.user(tenant, "ann")
    await api.done("assignRoles", id=user, roleIds=[reader, other])
    widened = await api.done("defineRole", id=reader, name="writer", permissions=["read", "write"])
    await api.done("assignRoles", id=user, roleIds=[other])
    await api.done("assignRoles", id=user, roleIds=[other, reader])
    await api.done("deleteUser", id=user)
    return Case(user, reader, other, widened["position"])


async def prove(api: Api, case: Case, **asked: Any) -> dict[str, Any]:
    return dict((await api.ask(PROOF, user=case.user, **asked))["accessProof"])


async def test_a_permission_by_a_role_and_its_definition_at_that_moment(api: Api, case: Case) -> None:
    proof = await prove(api, case, at={"version": 2}, permission="read")
    assert (proof["granted"], proof["reason"]) == (True, "The user had it through the role reader.")
    reader, other = proof["roles"]
    assert reader == {
        "role": {"id": case.reader, "name": "reader", "permissions": ["read"]},
        "held": True,
        "permits": True,
        "given": {"version": 2, "actor": "operator"},
        "taken": None,
        "definition": {"version": 1, "permissions": ["read"]},
    }
    assert (other["held"], other["permits"]) == (True, False)
    assert not (await prove(api, case, at={"version": 2}, permission="write"))["granted"]
    widened = await prove(api, case, at={"position": case.widened}, permission="write")
    assert (widened["granted"], widened["reason"]) == (True, "The user had it through the role writer.")
    assert widened["roles"][0]["definition"] == {"version": 2, "permissions": ["read", "write"]}


async def test_a_role_that_was_taken_and_given_again(api: Api, case: Case) -> None:
    taken = await prove(api, case, at={"version": 3}, role=case.reader)
    assert (taken["granted"], taken["reason"]) == (False, "The user had no role at that moment that gives it.")
    (reader,) = (each for each in taken["roles"] if each["role"]["id"] == case.reader)
    assert (reader["held"], reader["permits"], reader["given"]["version"], reader["taken"]) == (False, True, 2, {"version": 3})
    again = await prove(api, case, at={"version": 4}, role=case.reader)
    assert again["granted"]
    assert [(each["role"]["id"], each["given"]["version"], each["taken"]) for each in again["roles"]] == [
        (case.other, 2, None),
        (case.reader, 4, None),
    ]


async def test_who_is_deleted_or_not_there_yet_has_nothing(api: Api, case: Case) -> None:
    deleted = await prove(api, case, at={"version": 5}, permission="read")
    assert (deleted["granted"], deleted["reason"]) == (False, "The user was deleted at that moment.")
    assert (deleted["deleted"], deleted["user"]) == ({"version": 5}, {"status": "DELETED", "version": 5})
    before = await prove(api, case, at={"version": 0}, permission="read")
    assert before == {
        "granted": False,
        "reason": "The user did not exist at that moment.",
        "user": None,
        "deleted": None,
        "roles": [],
    }


async def test_a_role_that_permits_everything(api: Api) -> None:
    tenant = await api.tenant()
    root = await api.role(tenant, "root", "*")
    user = await api.user(tenant, "ann", roleIds=[root])
    proof = (await api.ask(PROOF, user=user, at={"version": 2}, permission="anything"))["accessProof"]
    assert (proof["granted"], [each["permits"] for each in proof["roles"]]) == (True, [True])


@pytest.mark.parametrize("asked", [{}, {"permission": "read", "role": "01a1fd54-7c1e-7d3c-8f7a-64f0f8a4b9d2"}])
async def test_either_a_permission_or_a_role_is_asked_about(api: Api, case: Case, asked: dict[str, str]) -> None:
    refused = await api.refused(PROOF, user=case.user, at={"version": 1}, **asked)
    assert refused["code"] == "BAD_USER_INPUT"
    assert refused["message"] == "permission: or roleId is needed, and not both"
