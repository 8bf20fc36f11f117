"""Roles and tenants, as an administrator defines, changes and reads them."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

ROLE = "id name permissions tenant { id } retiredAt createdAt updatedAt version position"
TENANT = "id name status suspendedAt suspensionReason createdAt updatedAt version position"


async def test_a_role_is_defined_defined_anew_retired_and_brought_back(api: Api) -> None:
    tenant = await api.tenant()
    fields = f"role {{ {ROLE} }} events {{ type }}"
    defined = await api.done("defineRole", fields, tenantId=tenant, name="admin", permissions=["a", "b"])
    id = defined["role"]["id"]
    assert defined["role"]["permissions"] == ["a", "b"]
    assert defined["role"]["tenant"] == {"id": tenant}
    anew = await api.done("defineRole", fields, id=id, name="root", permissions=["a"], expectedVersion=1)
    assert (anew["role"]["id"], anew["role"]["name"], anew["role"]["permissions"]) == (id, "root", ["a"])
    retired = await api.done("retireRole", fields, id=id)
    assert retired["role"]["retiredAt"] == retired["role"]["updatedAt"]
    back = await api.done("defineRole", fields, id=id, name="root", permissions=["a"])
    assert (back["role"]["retiredAt"], back["role"]["version"]) == (None, 4)
    assert [payload["events"][0]["type"] for payload in (defined, anew, retired, back)] == [
        "RoleDefined",
        "RoleDefined",
        "RoleRetired",
        "RoleDefined",
    ]
    read = await api.ask(f"query ($id: ID!) {{ role(id: $id) {{ {ROLE} }} node(id: $id) {{ __typename }} }}", id=id)
    assert read == {"role": back["role"], "node": {"__typename": "Role"}}


async def test_a_role_needs_a_tenant_or_an_id_and_not_both(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant)
    for which in ({}, {"tenantId": tenant, "id": role}):
        problem = await api.problem("defineRole", name="x", permissions=[], **which)
        assert (problem["__typename"], problem["path"]) == ("Invalid", ["input", "tenantId"])


async def test_roles_are_listed_without_the_retired_unless_asked_for(api: Api) -> None:
    tenant = await api.tenant()
    reader, writer = await api.role(tenant, "reader", "read"), await api.role(tenant, "writer", "read", "write")
    await api.done("retireRole", id=reader)
    listed = "query ($filter: RoleFilter) { roles(filter: $filter) { totalCount nodes { id } } }"

    async def ids(**filter: object) -> list[str]:
        roles = (await api.ask(listed, filter={"tenantId": tenant, **filter}))["roles"]
        assert roles["totalCount"] == len(roles["nodes"])
        return [role["id"] for role in roles["nodes"]]

    assert await ids() == [writer]
    assert await ids(includeRetired=True) == [reader, writer]
    assert await ids(includeRetired=True, name="READER") == [reader]
    assert await ids(permission="write") == [writer]
    assert await ids(ids=[writer]) == [writer]


async def test_a_tenant_is_created_renamed_suspended_and_reactivated(api: Api) -> None:
    fields = f"tenant {{ {TENANT} }} version position events {{ type }}"
    created = await api.done("createTenant", fields, name="Old Name")
    id = created["tenant"]["id"]
    renamed = await api.done("renameTenant", fields, id=id, name="New Name")
    suspended = await api.done("suspendTenant", fields, id=id, reason="unpaid")
    assert (suspended["tenant"]["status"], suspended["tenant"]["suspensionReason"]) == ("SUSPENDED", "unpaid")
    active = await api.done("reactivateTenant", fields, id=id)
    assert (active["tenant"]["status"], active["tenant"]["name"], active["version"]) == ("ACTIVE", "New Name", 4)
    assert [payload["events"][0]["type"] for payload in (created, renamed, suspended, active)] == [
        "TenantCreated",
        "TenantRenamed",
        "TenantSuspended",
        "TenantReactivated",
    ]
    read = await api.ask(f"query ($id: ID!) {{ tenant(id: $id) {{ {TENANT} }} node(id: $id) {{ __typename }} }}", id=id)
    assert read == {"tenant": active["tenant"], "node": {"__typename": "Tenant"}}


async def test_tenants_are_listed(api: Api) -> None:
    one, two = await api.tenant("Listed Beta"), await api.tenant("Listed alpha")
    await api.done("suspendTenant", id=one, reason="unpaid")
    listed = (
        "query ($filter: TenantFilter, $order: [TenantOrder!]) { tenants(filter: $filter, orderBy: $order) { nodes { id } } }"
    )

    async def ids(order: object = None, **filter: object) -> list[str]:
        return [each["id"] for each in (await api.ask(listed, filter=filter, order=order))["tenants"]["nodes"]]

    assert await ids(search="listed ") == [two, one]
    assert await ids([{"field": "CREATED_AT"}], search="listed ") == [one, two]
    assert await ids([{"field": "NAME", "direction": "DESC"}], search="listed ") == [one, two]
    assert await ids(search="listed ", status="SUSPENDED") == [one]
    assert await ids(ids=[two], name="LISTED ALPHA") == [two]


async def test_a_suspended_tenant_takes_no_new_users(api: Api) -> None:
    tenant = await api.tenant()
    await api.done("suspendTenant", id=tenant, reason="unpaid")
    problem = await api.problem("createUser", tenantId=tenant, username="ann", email="ann@example.com")
    assert (problem["__typename"], problem["code"]) == ("Refused", "TENANT_IS_SUSPENDED")


async def test_the_viewer_is_whoever_asks(api: Api) -> None:
    viewer = (await api.ask("{ viewer { name permissions tenant { id } } }"))["viewer"]
    assert viewer == {"name": "operator", "permissions": ["*"], "tenant": None}
