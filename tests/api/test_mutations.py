"""What people do to tenants, roles and users: the answer, and what it leaves in the log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.client import Client

pytestmark = pytest.mark.anyio

NOBODY = "019ab0c4-0000-7000-8000-00000000dead"


async def test_a_tenant_s_life(client: Client) -> None:
    shown = "version tenant { id name status suspensionReason }"
    created = await client.done("createTenant", shown, name="  Lighthouse ", clientMutationId="mine")
    tenant_id = created["tenant"]["id"]
    assert created["tenant"] == {"id": tenant_id, "name": "Lighthouse", "status": "ACTIVE", "suspensionReason": None}
    assert created["clientMutationId"] == "mine"
    assert created["events"] == [{"type": "TenantCreated", "version": 1, "position": created["position"]}]
    renamed = await client.done("renameTenant", shown, id=tenant_id, name="Beacon")
    assert (renamed["tenant"]["name"], renamed["version"]) == ("Beacon", 2)
    suspended = await client.done("suspendTenant", shown, id=tenant_id, reason="unpaid")
    assert (suspended["tenant"]["status"], suspended["tenant"]["suspensionReason"]) == ("SUSPENDED", "unpaid")
    refused = await client.problem("createUser", tenantId=tenant_id, username="ida", email="ida@example.com")
    assert (refused["__typename"], refused["code"]) == ("Refused", "TENANT_IS_SUSPENDED")
    again = await client.done("reactivateTenant", shown, id=tenant_id)
    assert (again["tenant"]["status"], again["version"]) == ("ACTIVE", 4)


async def test_a_role_s_life(client: Client, tenant: str, ida: str) -> None:
    shown = "version role { id name permissions retiredAt tenant { id } }"
    defined = await client.done("defineRole", shown, tenantId=tenant, name="keeper", permissions=["lamp.light", "lamp.light"])
    role_id = defined["role"]["id"]
    assert defined["role"]["permissions"] == ["lamp.light"]
    assert defined["role"]["tenant"] == {"id": tenant}
    again = await client.done("defineRole", shown, id=role_id, name="keeper", permissions=["lamp.mend"])
    assert (again["role"]["permissions"], again["version"]) == (["lamp.mend"], 2)
    retired = await client.done("retireRole", shown, id=role_id)
    assert retired["role"]["retiredAt"].endswith("Z")
    refused = await client.problem("assignRoles", id=ida, roleIds=[role_id])
    assert (refused["__typename"], refused["code"]) == ("Refused", "ROLE_IS_RETIRED")


async def test_a_user_s_life(client: Client, tenant: str) -> None:
    shown = (
        "version user { id username email fullName phone status roles { name } permissions lockReason deletedAt tenant { id } }"
    )
    role_id = await client.define_role(tenant, "keeper", "lamp.mend", "lamp.light")
    created = await client.done(
        "createUser",
        shown,
        tenantId=tenant,
        username="ida",
        email="ida@EXAMPLE.com",
        phone="+49 30 123456",
        roleIds=[role_id],
    )
    user_id = created["user"]["id"]
    assert created["user"] == {
        "id": user_id,
        "username": "ida",
        "email": "ida@example.com",
        "fullName": None,
        "phone": "+4930123456",
        "status": "ACTIVE",
        "roles": [{"name": "keeper"}],
        "permissions": ["lamp.light", "lamp.mend"],
        "lockReason": None,
        "deletedAt": None,
        "tenant": {"id": tenant},
    }
    steps: list[tuple[str, dict[str, Any], str, str, Any]] = [
        ("updateUserProfile", {"fullName": "Ida Lewis"}, "UserUpdated", "fullName", "Ida Lewis"),
        ("changeUserEmail", {"email": "lewis@example.com"}, "EmailChanged", "email", "lewis@example.com"),
        ("changeUserPhone", {"phone": None}, "PhoneChanged", "phone", None),
        ("assignRoles", {"roleIds": []}, "RolesAssigned", "roles", []),
        ("lockUser", {"reason": "lost her badge"}, "AccountLocked", "status", "LOCKED"),
        ("unlockUser", {}, "AccountUnlocked", "status", "ACTIVE"),
        ("deleteUser", {"reason": "retired"}, "UserDeleted", "status", "DELETED"),
        ("restoreUser", {}, "UserRestored", "status", "ACTIVE"),
    ]
    for version, (mutation, input, event_type, field, value) in enumerate(steps, start=3):
        payload = await client.done(mutation, shown, id=user_id, expectedVersion=version - 1, **input)
        assert [event["type"] for event in payload["events"]] == [event_type]
        assert (payload["version"], payload["user"][field]) == (version, value)
        assert await client.head() == payload["position"]


async def test_what_changes_nothing_writes_nothing(client: Client, ida: str) -> None:
    before = await client.head()
    payload = await client.done("changeUserEmail", "version user { email }", id=ida, email="ida@example.com")
    assert (payload["events"], payload["version"], payload["user"]) == ([], 1, {"email": "ida@example.com"})
    assert await client.head() == before


class TestProblems:
    async def test_the_form_of_an_input(self, client: Client, tenant: str) -> None:
        payload = await client.mutate(
            "createUser", "user { id }", tenantId=tenant, username="ida", email="no address", phone="12", password="short"
        )
        assert payload["user"] is None
        assert {tuple(problem["path"]) for problem in payload["problems"]} == {
            ("input", "email"),
            ("input", "phone"),
            ("input", "password"),
        }
        assert {problem["__typename"] for problem in payload["problems"]} == {"Invalid"}

    async def test_a_name_that_is_taken_whatever_its_case(self, client: Client, tenant: str, ida: str) -> None:
        taken = await client.problem("createUser", tenantId=tenant, username="IDA", email="other@example.com")
        assert (taken["__typename"], taken["field"], taken["value"]) == ("AlreadyTaken", "username", "ida")
        assert taken["path"] == ["input", "username"]

    async def test_the_same_name_in_another_tenant_is_free(self, client: Client, ida: str) -> None:
        assert await client.create_user(await client.create_tenant("Beacon"), "ida") != ida

    async def test_a_version_that_is_not_the_one(self, client: Client, ida: str) -> None:
        conflict = await client.problem("updateUserProfile", id=ida, fullName="Ida", expectedVersion=7)
        assert conflict["__typename"] == "Conflict"
        assert (conflict["expectedVersion"], conflict["actualVersion"]) == (7, 1)

    async def test_something_that_is_not_there(self, client: Client) -> None:
        missing = await client.problem("deleteUser", id=NOBODY)
        assert (missing["__typename"], missing["code"]) == ("NotFound", "NOT_FOUND")
        assert NOBODY in missing["message"]

    async def test_something_of_another_kind(self, client: Client, tenant: str) -> None:
        assert (await client.problem("deleteUser", id=tenant))["__typename"] == "NotFound"

    async def test_an_id_that_is_none(self, client: Client) -> None:
        invalid = await client.problem("deleteUser", id="ida")
        assert (invalid["__typename"], invalid["path"]) == ("Invalid", ["input", "id"])

    async def test_a_deleted_user(self, client: Client, ida: str) -> None:
        await client.done("deleteUser", "version", id=ida)
        refused = await client.problem("lockUser", id=ida, reason="gone")
        assert (refused["__typename"], refused["code"]) == ("Refused", "USER_IS_DELETED")

    async def test_a_name_taken_while_its_user_was_deleted(self, client: Client, tenant: str, ida: str) -> None:
        await client.done("deleteUser", "version", id=ida)
        await client.create_user(tenant, "ida", email="another@example.com")
        assert (await client.problem("restoreUser", id=ida))["__typename"] == "AlreadyTaken"

    async def test_a_role_of_another_tenant(self, client: Client, ida: str) -> None:
        foreign = await client.define_role(await client.create_tenant("Beacon"))
        assert (await client.problem("assignRoles", id=ida, roleIds=[foreign]))["code"] == "NO_SUCH_ROLE"


class TestIdempotency:
    async def test_the_same_key_and_input_get_the_first_answer(self, client: Client, tenant: str) -> None:
        input = {"tenantId": tenant, "username": "ida", "email": "ida@example.com", "idempotencyKey": "once"}
        first = await client.done("createUser", "version user { id version }", **input)
        await client.done("updateUserProfile", "version", id=first["user"]["id"], fullName="Ida")
        before = await client.head()
        again = await client.done("createUser", "version user { id version }", **input)
        assert (again["user"], again["events"], again["version"]) == (first["user"], first["events"], 1)
        assert await client.head() == before

    async def test_the_same_key_with_another_input(self, client: Client, ida: str) -> None:
        await client.done("updateUserProfile", "version", id=ida, fullName="Ida", idempotencyKey="once")
        mismatch = await client.problem("updateUserProfile", id=ida, fullName="Lewis", idempotencyKey="once")
        assert mismatch["__typename"] == "IdempotencyMismatch"

    async def test_many_users_too(self, client: Client, tenant: str) -> None:
        users = [{"tenantId": tenant, "username": name, "email": f"{name}@example.com"} for name in ("ann", "bob")]
        first = await client.done("createUsers", "users { id }", users=users, idempotencyKey="once")
        again = await client.done("createUsers", "users { id }", users=users, idempotencyKey="once")
        assert (again["users"], again["events"]) == (first["users"], first["events"])
        mismatch = await client.problem("createUsers", users=users[:1], idempotencyKey="once")
        assert mismatch["__typename"] == "IdempotencyMismatch"


class TestCreateUsers:
    async def test_a_thousand(self, client: Client, tenant: str) -> None:
        users = [{"tenantId": tenant, "username": f"u{place}", "email": f"u{place}@example.com"} for place in range(1000)]
        before = await client.head()
        payload = await client.done("createUsers", "users { username }", users=users)
        assert [user["username"] for user in payload["users"]] == [user["username"] for user in users]
        assert (payload["position"], await client.head()) == (before + 1000, before + 1000)

    async def test_all_or_none_and_the_path_says_which(self, client: Client, tenant: str, ida: str) -> None:
        users = [{"tenantId": tenant, "username": name, "email": f"{name}2@example.com"} for name in ("ann", "IDA", "bob")]
        taken = await client.problem("createUsers", users=users)
        assert taken["path"] == ["input", "users", "1", "username"]

    async def test_every_wrong_form_is_told_at_once(self, client: Client, tenant: str) -> None:
        users = [{"tenantId": tenant, "username": f"u{place}", "email": "none"} for place in range(2)]
        payload = await client.mutate("createUsers", "users { id }", users=users)
        assert [problem["path"] for problem in payload["problems"]] == [["input", "users", f"{n}", "email"] for n in range(2)]

    @pytest.mark.parametrize("number", [0, 1001])
    async def test_none_or_too_many(self, client: Client, number: int) -> None:
        user = {"tenantId": NOBODY, "username": "ida", "email": "ida@example.com"}
        assert (await client.problem("createUsers", users=[user] * number))["path"] == ["input", "users"]


async def test_a_password_is_hashed_beside_the_log_and_nowhere_in_it(client: Client, tenant: str) -> None:
    user_id = await client.create_user(tenant, password="correct horse battery")
    changed = await client.done("changeUserPassword", "user { passwordChangedAt }", id=user_id, password="staple correct horse")
    assert changed["user"]["passwordChangedAt"] is not None
    events = await client.ask("{ events(first: 100) { nodes { data } } }")
    assert not any(secret in str(events) for secret in ("correct horse", "argon2"))


async def test_an_event_says_who_did_it_from_where_and_as_part_of_what(client: Client) -> None:
    mutation = """mutation { createTenant(input: {name: "Lighthouse"}) {
        events { actor correlationId causationId ipAddress userAgent occurredAt } } }"""
    headers = {"X-Correlation-ID": "c-1", "X-Causation-ID": "e-1", "User-Agent": "test/1"}
    (event,) = (await client.post(mutation, headers)).json()["data"]["createTenant"]["events"]
    assert event.pop("occurredAt").endswith("Z")
    assert event == {
        "actor": "operator",
        "correlationId": "c-1",
        "causationId": "e-1",
        "ipAddress": "127.0.0.1",
        "userAgent": "test/1",
    }
