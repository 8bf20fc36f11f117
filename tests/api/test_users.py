"""Users, as a front end creates, changes and reads them."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

USER = """
    id tenant { id name } username email fullName phone status roles { name } permissions loginAttempts lockedUntil lockReason
    lastLoginAt passwordChangedAt createdAt updatedAt deletedAt version position
"""


async def test_a_new_user_is_in_the_answer_in_the_reads_and_in_the_log(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant, "admin", "user.read", "user.write")
    payload = await api.done(
        "createUser",
        f"user {{ {USER} }} version position clientMutationId events {{ __typename type version streamId }}",
        tenantId=tenant,
        username="ann",
        email="Ann@Example.COM",
        fullName="Ann Other",
        phone="+49 (30) 1234-5678",
        roleIds=[role],
        clientMutationId="mine",
    )
    user = payload["user"]
    assert user == {
        "id": user["id"],
        "tenant": {"id": tenant, "name": "Acme"},
        "username": "ann",
        "email": "Ann@example.com",
        "fullName": "Ann Other",
        "phone": "+493012345678",
        "status": "ACTIVE",
        "roles": [{"name": "admin"}],
        "permissions": ["user.read", "user.write"],
        "loginAttempts": 0,
        "lockedUntil": None,
        "lockReason": None,
        "lastLoginAt": None,
        "passwordChangedAt": None,
        "createdAt": user["createdAt"],
        "updatedAt": user["createdAt"],
        "deletedAt": None,
        "version": 2,
        "position": payload["position"],
    }
    assert user["createdAt"].endswith("Z")
    assert payload["clientMutationId"] == "mine"
    assert payload["version"] == 2
    assert [(event["type"], event["version"], event["streamId"]) for event in payload["events"]] == [
        ("UserCreated", 1, user["id"]),
        ("RolesAssigned", 2, user["id"]),
    ]
    read = await api.ask(f"query ($id: ID!) {{ user(id: $id) {{ {USER} }} node(id: $id) {{ __typename id }} }}", id=user["id"])
    assert read["user"] == user
    assert read["node"] == {"__typename": "User", "id": user["id"]}


async def test_every_change_of_a_user_adds_its_event_and_shows_its_result(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant, "support", "user.lock")
    id = await api.user(tenant, "bob")

    async def change(mutation: str, shown: str, **input: object) -> object:
        payload = await api.done(mutation, f"user {{ {shown} }} version events {{ type }}", id=id, **input)
        seen.append((payload["version"], *(event["type"] for event in payload["events"])))
        return payload["user"][shown]

    seen: list[tuple[object, ...]] = []
    assert await change("updateUserProfile", "fullName", fullName="Bob") == "Bob"
    assert await change("changeUserEmail", "email", email="bob@example.org") == "bob@example.org"
    assert await change("changeUserPhone", "phone", phone="+44 20 7946 0000") == "+442079460000"
    assert await change("changeUserPhone", "phone") is None
    assert await change("changeUserPassword", "passwordChangedAt", password="correct horse") is not None
    assert await change("assignRoles", "permissions", roleIds=[role]) == ["user.lock"]
    assert await change("lockUser", "status", reason="left the badge at home") == "LOCKED"
    assert (
        await change("lockUser", "lockedUntil", reason="tomorrow", lockedUntil="2999-01-01T01:00:00+01:00")
        == "2999-01-01T00:00:00Z"
    )
    assert await change("unlockUser", "status") == "ACTIVE"
    assert await change("deleteUser", "status", reason="gone") == "DELETED"
    assert await change("restoreUser", "status") == "ACTIVE"
    assert seen == [
        (2, "UserUpdated"),
        (3, "EmailChanged"),
        (4, "PhoneChanged"),
        (5, "PhoneChanged"),
        (6, "PasswordChanged"),
        (7, "RolesAssigned"),
        (8, "AccountLocked"),
        (9, "AccountLocked"),
        (10, "AccountUnlocked"),
        (11, "UserDeleted"),
        (12, "UserRestored"),
    ]


async def test_a_change_that_changes_nothing_succeeds_and_adds_nothing(api: Api) -> None:
    id = await api.user(await api.tenant())
    payload = await api.done("changeUserEmail", "user { email } version events { type }", id=id, email="ann@example.com")
    assert payload == {"user": {"email": "ann@example.com"}, "version": 1, "events": [], "problems": []}


async def test_a_password_is_kept_as_a_hash_and_nowhere_else(api: Api) -> None:
    id = await api.user(await api.tenant(), password="correct horse")
    database = api.backend.store.database
    assert (await database.fetchval("SELECT hash FROM es.credentials WHERE stream_id = $1::uuid", id)).startswith("$argon2id$")
    kept = await database.fetch("SELECT data::text || metadata::text AS kept FROM es.events WHERE stream_id = $1::uuid", id)
    assert kept
    assert not any("correct horse" in row["kept"] for row in kept)


async def test_a_user_is_found_by_name_whatever_its_case(api: Api) -> None:
    tenant = await api.tenant()
    id = await api.user(tenant, "Zoë")
    find = "query ($name: String!, $tenant: ID) { userByUsername(username: $name, tenantId: $tenant) { id } }"
    assert (await api.ask(find, name="ZOË", tenant=tenant))["userByUsername"] == {"id": id}
    assert (await api.ask(find, name="nobody", tenant=tenant))["userByUsername"] is None
    await api.user(await api.tenant("Other"), "zoë")
    assert (await api.refused(find, name="zoë"))["argument"] == "tenantId"


async def test_many_users_are_created_at_once(api: Api) -> None:
    tenant = await api.tenant()
    people = [{"tenantId": tenant, "username": f"user {n}", "email": f"user{n}@example.com"} for n in range(1000)]
    payload = await api.done("createUsers", "users { username version } events { position } position", users=people)
    assert [user["username"] for user in payload["users"]] == [person["username"] for person in people]
    positions = [event["position"] for event in payload["events"]]
    assert positions == list(range(payload["position"] - 999, payload["position"] + 1))
    counted = await api.ask("query ($t: ID!) { users(filter: { tenantId: $t }) { totalCount } }", t=tenant)
    assert counted["users"]["totalCount"] == 1000


async def test_of_many_users_all_are_created_or_none(api: Api) -> None:
    tenant = await api.tenant()
    await api.user(tenant, "taken")
    people = [{"tenantId": tenant, "username": name, "email": f"{name}1@example.com"} for name in ("a", "b", "Taken", "c")]
    payload = await api.change("createUsers", "users { id } position events { id }", users=people)
    (problem,) = payload.pop("problems")
    assert payload == {"users": [], "position": None, "events": []}
    assert (problem["__typename"], problem["path"]) == ("AlreadyTaken", ["input", "users", "2", "username"])
    counted = await api.ask("query ($t: ID!) { users(filter: { tenantId: $t }) { totalCount } }", t=tenant)
    assert counted["users"]["totalCount"] == 1


async def test_the_problems_of_many_users_come_all_at_once(api: Api) -> None:
    tenant = await api.tenant()
    people = [
        {"tenantId": tenant, "username": "a", "email": "nobody"},
        {"tenantId": tenant, "username": "b", "email": "b@example.com", "phone": "12", "password": "short"},
    ]
    problems = (await api.change("createUsers", users=people))["problems"]
    assert [(problem["__typename"], problem["path"][2:]) for problem in problems] == [
        ("Invalid", ["0", "email"]),
        ("Invalid", ["1", "password"]),
        ("Invalid", ["1", "phone"]),
    ]


async def test_the_number_of_users_created_at_once_is_bounded(api: Api) -> None:
    tenant = await api.tenant()
    one = {"tenantId": tenant, "username": "a", "email": "a@example.com"}
    for people in ([], [one] * 1001):
        problem = await api.problem("createUsers", users=people)
        assert (problem["__typename"], problem["path"]) == ("Invalid", ["input", "users"])
        assert str(len(people)) in problem["message"]
