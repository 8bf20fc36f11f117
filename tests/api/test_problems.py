"""What mutations answer when they do not do what was asked."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio


async def head(api: Api) -> int:
    return int((await api.ask("{ head }"))["head"])


async def test_an_expected_version_that_is_not_the_version_is_a_conflict_with_both(api: Api) -> None:
    id = await api.user(await api.tenant())
    await api.done("updateUserProfile", id=id, fullName="Ann", expectedVersion=1)
    problem = await api.problem("updateUserProfile", id=id, fullName="Anna", expectedVersion=1)
    assert problem["__typename"] == "Conflict"
    assert problem["code"] == "CONFLICT"
    assert problem["path"] == ["input", "expectedVersion"]
    assert (problem["expectedVersion"], problem["actualVersion"]) == (1, 2)
    assert (await api.ask("query ($id: ID!) { user(id: $id) { fullName } }", id=id))["user"]["fullName"] == "Ann"


async def test_a_value_that_another_holds_is_named_as_the_client_calls_it(api: Api) -> None:
    tenant = await api.tenant()
    await api.user(tenant, "ann")
    await api.role(tenant, "Admin")
    taken = await api.problem("createUser", tenantId=tenant, username="ANN", email="other@example.com")
    assert (taken["__typename"], taken["field"], taken["value"], taken["path"]) == (
        "AlreadyTaken",
        "username",
        "ann",
        ["input", "username"],
    )
    email = await api.problem("createUser", tenantId=tenant, username="bob", email="ANN@example.com")
    assert (email["field"], email["path"]) == ("email", ["input", "email"])
    role = await api.problem("defineRole", tenantId=tenant, name="admin", permissions=[])
    assert (role["field"], role["path"]) == ("name", ["input", "name"])


async def test_everything_that_has_the_wrong_form_is_told_at_once(api: Api) -> None:
    payload = await api.change(
        "createUser",
        "user { id } version position",
        tenantId="none",
        username="ann",
        email="ann at example.com",
        phone="030 123",
        password="short",
        roleIds=[str(uuid4()), "none either"],
    )
    problems = payload.pop("problems")
    assert payload == {"user": None, "version": None, "position": None}
    assert {problem["__typename"] for problem in problems} == {"Invalid"}
    assert sorted(".".join(problem["path"]) for problem in problems) == [
        "input.email",
        "input.password",
        "input.phone",
        "input.roleIds.1",
        "input.tenantId",
    ]


@pytest.mark.parametrize("password", ["1234567", "x" * 1025])
async def test_a_password_has_8_to_1024_characters(api: Api, password: str) -> None:
    problem = await api.problem("changeUserPassword", id=str(uuid4()), password=password)
    assert (problem["__typename"], problem["path"]) == ("Invalid", ["input", "password"])


async def test_a_refusal_says_which_rule_and_where(api: Api) -> None:
    tenant = await api.tenant()
    id = await api.user(tenant)
    empty = await api.problem("updateUserProfile", id=id, fullName="  ")
    assert (empty["__typename"], empty["code"], empty["path"]) == ("Refused", "TEXT_IS_EMPTY", ["input", "fullName"])
    unknown = await api.problem("assignRoles", id=id, roleIds=[str(uuid4())])
    assert (unknown["__typename"], unknown["code"], unknown["path"]) == ("Refused", "NO_SUCH_ROLE", ["input"])
    foreign = await api.problem("assignRoles", id=id, roleIds=[await api.role(await api.tenant("Other"))])
    assert foreign["code"] == "NO_SUCH_ROLE"
    await api.done("deleteUser", id=id)
    deleted = await api.problem("lockUser", id=id, reason="late")
    assert (deleted["__typename"], deleted["code"]) == ("Refused", "USER_IS_DELETED")


async def test_what_is_not_there_cannot_be_changed(api: Api) -> None:
    tenant = await api.tenant()
    for mutation, id, input in (
        ("deleteUser", str(uuid4()), {}),
        ("deleteUser", tenant, {}),
        ("assignRoles", str(uuid4()), {"roleIds": []}),
        ("retireRole", tenant, {}),
        ("defineRole", str(uuid4()), {"name": "x", "permissions": []}),
        ("renameTenant", str(uuid4()), {"name": "x"}),
    ):
        problem = await api.problem(mutation, id=id, **input)
        assert (problem["__typename"], problem["code"], problem["path"]) == ("NotFound", "NOT_FOUND", ["input", "id"])
        assert id in problem["message"]


async def test_an_idempotency_key_makes_a_retry_harmless(api: Api) -> None:
    tenant = await api.tenant()
    input = {"tenantId": tenant, "username": "ann", "email": "ann@example.com", "idempotencyKey": str(uuid4())}
    fields = "user { id version } version position events { id position }"
    first = await api.done("createUser", fields, **input)
    await api.done("updateUserProfile", id=first["user"]["id"], fullName="Changed since")
    before = await head(api)
    again = await api.change("createUser", fields, **input, clientMutationId="another attempt")
    assert again == first
    assert await head(api) == before


async def test_an_idempotency_key_is_for_one_input(api: Api) -> None:
    tenant = await api.tenant()
    key = str(uuid4())
    await api.done("renameTenant", id=tenant, name="New", idempotencyKey=key)
    before = await head(api)
    for mutation, input in (("renameTenant", {"name": "Newer"}), ("suspendTenant", {"reason": "New"})):
        problem = await api.problem(mutation, id=tenant, idempotencyKey=key, **input)
        assert (problem["__typename"], problem["code"]) == ("IdempotencyMismatch", "IDEMPOTENCY_MISMATCH")
        assert problem["path"] == ["input", "idempotencyKey"]
    assert await head(api) == before


async def test_an_idempotency_key_is_for_many_users_too(api: Api) -> None:
    tenant = await api.tenant()
    people = [{"tenantId": tenant, "username": name, "email": f"{name}@example.com"} for name in ("a", "b", "c")]
    key = str(uuid4())
    first = await api.done("createUsers", "users { id } position", users=people, idempotencyKey=key)
    assert await api.change("createUsers", "users { id } position", users=people, idempotencyKey=key) == first
    problem = await api.problem("createUsers", users=people[:2], idempotencyKey=key)
    assert problem["__typename"] == "IdempotencyMismatch"


async def test_mutations_of_one_request_see_each_other(api: Api) -> None:
    tenant = await api.tenant()
    document = """mutation ($tenant: ID!, $user: ID!) {
        first: defineRole(input: { tenantId: $tenant, name: "reader", permissions: ["read"] }) { role { id tenant { name } } }
        renameTenant(input: { id: $tenant, name: "Renamed" }) { tenant { name } }
        updateUserProfile(input: { id: $user, fullName: "Ann" }) { user { tenant { id } } }
    }"""
    answer = await api.answer(document, tenant=tenant, user=await api.user(tenant))
    assert answer["data"]["first"]["role"]["tenant"] == {"name": "Acme"}
    assert answer["data"]["renameTenant"]["tenant"] == {"name": "Renamed"}
    assert answer["data"]["updateUserProfile"]["user"]["tenant"] == {"id": tenant}
    assert answer["extensions"]["position"] == await head(api)
