"""Looking back: one thing at a moment, and the whole directory as of one."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

USER = "fullName status version tenant { name } roles { name permissions } permissions"


class Past(NamedTuple):
    """A user whose roles and tenant changed after the user did."""

    tenant: str
    user: str
    created: int
    """The position of the user's first event."""
    assigned: int
    assigned_at: str
    last: int


@pytest.fixture
async def past(api: Api) -> Past:
    tenant = await api.tenant("Before")
    role = await api.role(tenant, "reader", "read")
    user = await api.user(tenant, "ann")
    assigned = await api.done("assignRoles", "position user { updatedAt }", id=user, roleIds=[role])
    await api.done("defineRole", id=role, name="writer", permissions=["read", "write"])
    await api.done("renameTenant", id=tenant, name="After")
    last = await api.done("updateUserProfile", id=user, fullName="Ann Other")
    return Past(tenant, user, assigned["position"] - 1, assigned["position"], assigned["user"]["updatedAt"], last["position"])


THEN = {
    "fullName": None,
    "status": "ACTIVE",
    "version": 2,
    "tenant": {"name": "Before"},
    "roles": [{"name": "reader", "permissions": ["read"]}],
    "permissions": ["read"],
}
NOW = {
    "fullName": "Ann Other",
    "status": "ACTIVE",
    "version": 3,
    "tenant": {"name": "After"},
    "roles": [{"name": "writer", "permissions": ["read", "write"]}],
    "permissions": ["read", "write"],
}


async def test_a_user_is_shown_as_at_a_moment_and_so_are_their_roles_and_tenant(api: Api, past: Past) -> None:
    document = f"query ($id: ID!, $at: Moment) {{ user(id: $id, at: $at) {{ {USER} }} }}"
    moments: list[dict[str, Any]] = [{"version": 2}, {"position": past.assigned}, {"timestamp": past.assigned_at}]
    for moment in moments:
        assert (await api.ask(document, id=past.user, at=moment))["user"] == THEN, moment
    of_now: list[dict[str, Any] | None] = [None, {"version": 3}, {"position": past.last}, {"timestamp": "2999-01-01T00:00:00Z"}]
    for now in of_now:
        assert (await api.ask(document, id=past.user, at=now))["user"] == NOW, now


async def test_before_its_first_event_a_user_is_null(api: Api, past: Past) -> None:
    document = "query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { id } node(id: $id, at: $at) { id } }"
    moments: list[dict[str, Any]] = [{"version": 0}, {"position": 0}, {"position": past.created - 1}]
    for moment in [*moments, {"timestamp": "2000-01-01T00:00:00Z"}]:
        assert await api.ask(document, id=past.user, at=moment) == {"user": None, "node": None}, moment


async def test_one_moment_leads_to_another(api: Api, past: Past) -> None:
    document = """query ($id: ID!) { user(id: $id, at: { version: 2 }) {
        version
        at(moment: { version: 1 }) { version roles { name } history { totalCount } }
        later: at(moment: { version: 3 }) { version roles { name } }
        history { nodes { type } }
    } }"""
    user = (await api.ask(document, id=past.user))["user"]
    assert user["at"] == {"version": 1, "roles": [], "history": {"totalCount": 1}}
    assert user["later"] == {"version": 3, "roles": [{"name": "writer"}]}
    assert [event["type"] for event in user["history"]["nodes"]] == ["UserCreated", "RolesAssigned"]


async def test_roles_and_tenants_are_shown_as_at_a_moment(api: Api, past: Past) -> None:
    document = """query ($user: ID!, $tenant: ID!, $at: Moment!) {
        user(id: $user) { roles { at(moment: $at) { name tenant { name } } } }
        tenant(id: $tenant, at: $at) { name version }
        node(id: $tenant, at: $at) { __typename ... on Tenant { name } }
    }"""
    answer = await api.ask(document, user=past.user, tenant=past.tenant, at={"position": past.assigned})
    assert answer["user"]["roles"] == [{"at": {"name": "reader", "tenant": {"name": "Before"}}}]
    assert answer["tenant"] == {"name": "Before", "version": 1}
    assert answer["node"] == {"__typename": "Tenant", "name": "Before"}


async def test_a_version_past_the_end_names_the_last(api: Api, past: Past) -> None:
    error = await api.refused("query ($id: ID!) { user(id: $id, at: { version: 4 }) { id } }", id=past.user)
    assert error["code"] == "BAD_USER_INPUT"
    assert error["argument"] == "at.version"
    assert "last version is 3" in error["message"]


@pytest.mark.parametrize(
    "field", ["users(asOf: $m) { nodes { id } }", "roles(asOf: $m) { nodes { id } }", "tenants(asOf: $m) { totalCount }"]
)
async def test_a_position_past_the_end_of_the_log_names_the_end(api: Api, past: Past, field: str) -> None:
    head = (await api.ask("{ head }"))["head"]
    error = await api.refused(f"query ($m: AsOf) {{ {field} }}", m={"position": head + 1})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "asOf.position")
    assert f"last position is {head}" in error["rule"]


async def test_the_directory_is_listed_as_of_a_moment(api: Api, past: Past) -> None:
    document = f"""query ($tenant: ID!, $asOf: AsOf) {{
        users(filter: {{ tenantId: $tenant }}, asOf: $asOf) {{ totalCount nodes {{ {USER} }} }}
        roles(filter: {{ tenantId: $tenant }}, asOf: $asOf) {{ totalCount nodes {{ name }} }}
        tenants(filter: {{ ids: [$tenant] }}, asOf: $asOf) {{ nodes {{ name }} }}
        userByUsername(username: "ANN", tenantId: $tenant, asOf: $asOf) {{ {USER} }}
    }}"""
    moments: list[tuple[dict[str, Any] | None, Any, str]] = [
        ({"position": past.assigned}, THEN, "reader"),
        ({"timestamp": past.assigned_at}, THEN, "reader"),
        ({"position": past.last}, NOW, "writer"),
        (None, NOW, "writer"),
    ]
    for as_of, user, role in moments:
        answer = await api.ask(document, tenant=past.tenant, asOf=as_of)
        assert answer["users"] == {"totalCount": 1, "nodes": [user]}
        assert answer["roles"] == {"totalCount": 1, "nodes": [{"name": role}]}
        assert answer["tenants"]["nodes"] == [user["tenant"]]
        assert answer["userByUsername"] == user
    before = await api.ask(document, tenant=past.tenant, asOf={"position": past.created - 1})
    assert before["users"] == {"totalCount": 0, "nodes": []}
    assert before["userByUsername"] is None


async def test_a_deleted_user_is_listed_as_of_a_moment_before(api: Api) -> None:
    tenant = await api.tenant()
    user = await api.user(tenant)
    deleted = await api.done("deleteUser", "position", id=user)
    document = "query ($t: ID!, $asOf: AsOf) { users(filter: { tenantId: $t }, asOf: $asOf) { nodes { id status } } }"
    assert (await api.ask(document, t=tenant))["users"]["nodes"] == []
    then = await api.ask(document, t=tenant, asOf={"position": deleted["position"] - 1})
    assert then["users"]["nodes"] == [{"id": user, "status": "ACTIVE"}]
    assert (await api.ask("query ($id: ID!) { user(id: $id) { status } }", id=user))["user"] == {"status": "DELETED"}


async def test_what_never_was_is_null_at_any_moment(api: Api) -> None:
    document = """query ($id: ID!, $at: Moment) {
        user(id: $id, at: $at) { id } role(id: $id, at: $at) { id } tenant(id: $id, at: $at) { id }
        node(id: $id, at: $at) { id } event(id: $id) { id } nodes(ids: [$id]) { id }
    }"""
    nothing = {"user": None, "role": None, "tenant": None, "node": None, "event": None, "nodes": [None]}
    for at in (None, {"version": 1}, {"timestamp": "2999-01-01T00:00:00Z"}):
        assert await api.ask(document, id=str(uuid4()), at=at) == nothing


async def test_an_id_of_another_type_finds_nothing(api: Api, past: Past) -> None:
    document = "query ($id: ID!, $at: Moment) { role(id: $id, at: $at) { id } tenant(id: $id, at: $at) { id } }"
    for at in (None, {"version": 1}):
        assert await api.ask(document, id=past.user, at=at) == {"role": None, "tenant": None}
