"""Who has a role, and who had it at a moment."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

MEMBERS = "members(asOf: $asOf) { totalCount edges { since until node { username fullName } } nodes { username } }"
ROLE = f"query ($id: ID!, $asOf: AsOf) {{ role(id: $id) {{ {MEMBERS} }} }}"


@pytest.fixture
async def tenant(api: Api) -> str:
    return await api.tenant()


async def names(api: Api, role: str, **as_of: Any) -> list[str]:
    members = (await api.ask(ROLE, id=role, asOf=as_of or None))["role"]["members"]
    found = [user["username"] for user in members["nodes"]]
    assert members["totalCount"] == len(found)
    assert [edge["node"]["username"] for edge in members["edges"]] == found
    return found


async def test_members_come_and_go(api: Api, tenant: str) -> None:
    reader, writer = await api.role(tenant, "reader"), await api.role(tenant, "writer")
    ann = await api.user(tenant, "ann", roleIds=[reader])
    bob = await api.user(tenant, "bob", roleIds=[reader, writer])
    assert (await names(api, reader), await names(api, writer)) == (["ann", "bob"], ["bob"])
    await api.done("assignRoles", id=ann, roleIds=[writer])
    assert (await names(api, reader), await names(api, writer)) == (["bob"], ["bob", "ann"])
    await api.done("deleteUser", id=bob)
    assert (await names(api, reader), await names(api, writer)) == ([], ["ann"])
    await api.done("restoreUser", id=bob)
    assert (await names(api, reader), await names(api, writer)) == (["bob"], ["ann", "bob"])
    await api.done("retireRole", id=writer)
    assert await names(api, writer) == ["ann", "bob"], "those who had it keep it"


async def test_members_as_of_a_moment_are_shown_as_they_were(api: Api, tenant: str) -> None:
    reader = await api.role(tenant, "reader")
    ann = await api.user(tenant, "ann")
    given = await api.done("assignRoles", "position user { updatedAt }", id=ann, roleIds=[reader])
    await api.done("updateUserProfile", id=ann, fullName="Ann Other")
    taken = await api.done("assignRoles", "position user { updatedAt }", id=ann, roleIds=[])
    had = {
        "since": given["user"]["updatedAt"],
        "until": taken["user"]["updatedAt"],
        "node": {"username": "ann", "fullName": None},
    }
    for as_of in ({"position": given["position"]}, {"timestamp": given["user"]["updatedAt"]}):
        assert (await api.ask(ROLE, id=reader, asOf=as_of))["role"]["members"]["edges"] == [had]
    assert await names(api, reader, position=given["position"] - 1) == []
    assert await names(api, reader, timestamp=taken["user"]["updatedAt"]) == await names(api, reader) == []


async def test_a_role_shown_at_a_moment_has_its_members_of_then(api: Api, tenant: str) -> None:
    reader = await api.role(tenant, "reader")
    ann = await api.user(tenant, "ann", roleIds=[reader])
    changed = await api.done("defineRole", id=reader, name="reader", permissions=["read"])
    taken = await api.done("assignRoles", id=ann, roleIds=[])
    document = """query ($id: ID!, $tenant: ID!, $then: AsOf!, $now: AsOf!) {
        role(id: $id, at: { version: 2 }) { members { nodes { username } } now: members(asOf: $now) { totalCount } }
        roles(filter: { tenantId: $tenant }, asOf: $then) { nodes { members { nodes { username } } } }
    }"""
    then, now = {"position": changed["position"]}, {"position": taken["position"]}
    answer = await api.ask(document, id=reader, tenant=tenant, then=then, now=now)
    ann_alone = {"nodes": [{"username": "ann"}]}
    assert answer == {"role": {"members": ann_alone, "now": {"totalCount": 0}}, "roles": {"nodes": [{"members": ann_alone}]}}


async def test_members_are_read_in_pages(api: Api, tenant: str) -> None:
    reader = await api.role(tenant, "reader")
    people = [{"tenantId": tenant, "username": f"u{n}", "email": f"u{n}@example.com", "roleIds": [reader]} for n in range(5)]
    await api.done("createUsers", users=people)
    document = """query ($id: ID!, $after: String) { role(id: $id) { members(first: 2, after: $after) {
        edges { cursor node { username } } pageInfo { hasNextPage endCursor }
    } } }"""
    found: list[str] = []
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        members = (await api.ask(document, id=reader, after=info["endCursor"]))["role"]["members"]
        found += [edge["node"]["username"] for edge in members["edges"]]
        info = members["pageInfo"]
        assert info["endCursor"] == members["edges"][-1]["cursor"]
    assert sorted(found) == [f"u{n}" for n in range(5)]
    refused = await api.refused(document, id=await api.role(tenant, "other"), after=info["endCursor"])
    assert (refused["code"], refused["argument"]) == ("BAD_USER_INPUT", "after")


async def test_a_page_of_members_with_everything_about_them_takes_a_constant_number_of_statements(still: Api) -> None:
    tenant = await still.tenant()
    roles = [await still.role(tenant, f"role {n}") for n in range(3)]
    people = [{"tenantId": tenant, "username": f"u{n}", "email": f"u{n}@example.com", "roleIds": roles} for n in range(30)]
    await still.done("createUsers", users=people)
    document = "query ($id: ID!) { role(id: $id) { members(first: 30) { nodes { username tenant { name } roles { name } } } } }"
    answer, statements = await still.counting(document, id=roles[0])
    assert [len(user["roles"]) for user in answer["data"]["role"]["members"]["nodes"]] == [3] * 30
    kinds = [statement.split()[0] for statement in statements]
    assert kinds == ["BEGIN", *["SELECT"] * 4, "ROLLBACK"], "the role, its members, their tenants, their roles"


async def test_the_members_of_many_roles_take_as_many_statements_as_those_of_one(still: Api) -> None:
    tenant = await still.tenant()
    roles = [await still.role(tenant, f"role {n}") for n in range(4)]
    people = [
        {"tenantId": tenant, "username": f"u{n}", "email": f"u{n}@example.com", "roleIds": roles[: n + 1]} for n in range(3)
    ]
    created = await still.done("createUsers", users=people)
    document = """query ($asOf: AsOf) { roles(asOf: $asOf) { nodes {
        members(first: 2) { nodes { username tenant { name } } totalCount pageInfo { hasNextPage endCursor } }
        last: members(last: 1) { nodes { username } }
    } } }"""
    for as_of in (None, {"position": created["position"]}):
        answer, statements = await still.counting(document, asOf=as_of)
        found = [role["members"] for role in answer["data"]["roles"]["nodes"]]
        names = [sorted(user["username"] for user in members["nodes"]) for members in found]
        assert [len(each) for each in names] == [2, 2, 1, 0]
        assert [members["totalCount"] for members in found] == [3, 2, 1, 0]
        assert [members["pageInfo"]["hasNextPage"] for members in found] == [True, False, False, False]
        kinds = [statement.split()[0] for statement in statements if "es.events" not in statement]
        assert kinds == ["BEGIN", *["SELECT"] * 5, "ROLLBACK"], "the roles, two pages of each, the counts, the tenants"

    after = """query ($id: ID!, $asOf: AsOf, $after: String) {
        role(id: $id) { members(asOf: $asOf, after: $after) { nodes { username } totalCount } }
    }"""
    end = found[0]["pageInfo"]["endCursor"]
    rest = (await still.ask(after, id=roles[0], asOf=as_of, after=end))["role"]["members"]
    assert sorted([*names[0], *(user["username"] for user in rest["nodes"])]) == ["u0", "u1", "u2"]
    assert rest["totalCount"] == 3


async def test_a_caller_of_one_tenant_sees_its_members_only(api: Api, tenant: str) -> None:
    reader, other = await api.role(tenant, "reader"), await api.tenant("Other")
    await api.user(tenant, "ann", roleIds=[reader])
    document = "{ roles { nodes { members { nodes { username } totalCount } } } }"
    for within, seen in ((tenant, [{"nodes": [{"username": "ann"}], "totalCount": 1}]), (other, [])):
        headers = {"authorization": api.bearer("reader", {"*"}, tenant_id=UUID(within))}
        assert [role["members"] for role in (await api.answer(document, headers))["data"]["roles"]["nodes"]] == seen
