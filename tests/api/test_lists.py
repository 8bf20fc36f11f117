"""Lists in pages, as a client goes through them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

NAMES = ("ann", "bob", "cid", "dan", "eve", "fay", "gil")

PAGE = """query ($tenant: ID!, $order: [UserOrder!], $first: Int, $after: String, $last: Int, $before: String) {
    users(filter: { tenantId: $tenant }, orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
        totalCount edges { cursor node { username } } nodes { username }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}"""


@pytest.fixture
async def tenant(api: Api) -> str:
    tenant = await api.tenant()
    people = [{"tenantId": tenant, "username": name, "email": f"{name}@example.com"} for name in NAMES]
    await api.done("createUsers", users=people)
    return tenant


async def page(api: Api, **variables: Any) -> tuple[list[str], dict[str, Any]]:
    users = (await api.ask(PAGE, **variables))["users"]
    assert [edge["node"] for edge in users["edges"]] == users["nodes"]
    cursors = [edge["cursor"] for edge in users["edges"]]
    assert (users["pageInfo"]["startCursor"], users["pageInfo"]["endCursor"]) == (cursors[0], cursors[-1])
    assert users["totalCount"] == len(NAMES)
    return [user["username"] for user in users["nodes"]], users["pageInfo"]


async def test_a_list_is_read_forwards_and_backwards(api: Api, tenant: str) -> None:
    order = [{"field": "USERNAME", "direction": "DESC"}]
    forwards: list[str] = []
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        names, info = await page(api, tenant=tenant, order=order, first=3, after=info["endCursor"])
        forwards += names
    assert forwards == sorted(NAMES, reverse=True)
    backwards: list[str] = []
    info = {"hasPreviousPage": True, "startCursor": None}
    while info["hasPreviousPage"]:
        names, info = await page(api, tenant=tenant, order=order, last=3, before=info["startCursor"])
        backwards = names + backwards
    assert backwards == forwards


LEAVES = (
    "__typename id username version position email fullName phone status loginAttempts lockedUntil lockReason lastLoginAt "
    "passwordChangedAt createdAt updatedAt deletedAt"
)


@pytest.mark.parametrize("order", ["CREATED_AT", "UPDATED_AT", "USERNAME", "EMAIL"])
@pytest.mark.parametrize("as_of", [None, {"timestamp": "2999-01-01T00:00:00Z"}])
async def test_a_user_of_a_list_is_the_same_whatever_is_asked_of_them(
    api: Api, tenant: str, order: str, as_of: dict[str, str] | None
) -> None:
    async def listed(fields: str) -> Any:
        document = f"""query ($tenant: ID!, $order: UserOrderField!, $asOf: AsOf) {{
            users(filter: {{ tenantId: $tenant, includeDeleted: true }}, orderBy: [{{ field: $order }}], asOf: $asOf) {{
                nodes {{ {fields} }} pageInfo {{ startCursor endCursor }}
            }}
        }}"""
        return (await api.ask(document, tenant=tenant, order=order, asOf=as_of))["users"]

    ann, bob, cid, *_ = [user["id"] for user in (await listed("id"))["nodes"]]
    await api.done("lockUser", id=ann, reason="lost", lockedUntil="2999-01-01T00:00:00.5+02:00")
    await api.done("updateUserProfile", id=bob, fullName="Bob")
    await api.done("deleteUser", id=cid)
    whole = await listed(f"tenant {{ id }} {LEAVES}")
    for user in whole["nodes"]:
        assert user.pop("tenant") == {"id": tenant}
    assert await listed(LEAVES) == whole
    for field in LEAVES.split():
        expected = [{"it": user[field]} for user in whole["nodes"]]
        assert await listed(f"it: {field}") == {"nodes": expected, "pageInfo": whole["pageInfo"]}


async def test_an_empty_page_has_no_cursors(api: Api) -> None:
    users = (await api.ask(PAGE, tenant=await api.tenant()))["users"]
    none = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert users == {"totalCount": 0, "edges": [], "nodes": [], "pageInfo": none}


async def test_a_history_is_read_in_pages(api: Api) -> None:
    user = await api.user(await api.tenant())
    for name in NAMES:
        await api.done("updateUserProfile", id=user, fullName=name)
    document = """query ($id: ID!, $after: String) { user(id: $id) { history(first: 3, after: $after) {
        totalCount nodes { version } pageInfo { hasNextPage endCursor }
    } } }"""
    versions: list[int] = []
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        history = (await api.ask(document, id=user, after=info["endCursor"]))["user"]["history"]
        versions += [event["version"] for event in history["nodes"]]
        info = history["pageInfo"]
        assert history["totalCount"] == len(NAMES) + 1
    assert versions == list(range(1, len(NAMES) + 2))


async def test_users_are_filtered(api: Api, tenant: str) -> None:
    role = await api.role(tenant, "boss", "all")
    everybody = await api.ask("query ($t: ID!) { users(filter: { tenantId: $t }) { nodes { id username } } }", t=tenant)
    ids = {user["username"]: user["id"] for user in everybody["users"]["nodes"]}
    await api.done("assignRoles", id=ids["ann"], roleIds=[role])
    await api.done("lockUser", id=ids["bob"], reason="lost")
    await api.done("deleteUser", id=ids["cid"])
    await api.done("updateUserProfile", id=ids["dan"], fullName="Daniela Müller")
    document = "query ($filter: UserFilter) { users(filter: $filter, orderBy: [{ field: USERNAME }]) { nodes { username } } }"

    async def names(**filter: object) -> list[str]:
        nodes = (await api.ask(document, filter={"tenantId": tenant, **filter}))["users"]["nodes"]
        return [user["username"] for user in nodes]

    assert await names() == ["ann", "bob", "dan", "eve", "fay", "gil"]
    assert await names(includeDeleted=True) == list(NAMES)
    assert await names(status="DELETED") == ["cid"]
    assert await names(status="LOCKED") == ["bob"]
    assert await names(username="EVE") == ["eve"]
    assert await names(usernamePrefix="G") == ["gil"]
    assert await names(email="FAY@example.com") == ["fay"]
    assert await names(ids=[ids["ann"], ids["cid"]]) == ["ann"]
    assert await names(roleId=role) == await names(roleName="BOSS") == ["ann"]
    assert await names(search="müll") == ["dan"]
    assert await names(createdAfter="2999-01-01T00:00:00Z") == []
    assert await names(createdBefore="2999-01-01T00:00:00Z", username="ann") == ["ann"]
    assert await names(**{"or": [{"username": "ann"}, {"status": "LOCKED"}]}) == ["ann", "bob"]
    assert await names(**{"not": {"or": [{"username": "ann"}, {"username": "gil"}]}, "and": [{"status": "ACTIVE"}]}) == [
        "dan",
        "eve",
        "fay",
    ]
