"""All fields of a query see one state of the database, in few statements, and none before the position asked for."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.conftest import PATIENCE, Api, serving
from tests.eventstore.locks import waiting

pytestmark = pytest.mark.anyio


async def test_a_page_of_users_with_everything_about_them_takes_a_constant_number_of_statements(still: Api) -> None:
    tenant = await still.tenant()
    roles = [await still.role(tenant, f"role {n}", f"permission {n}") for n in range(3)]
    people = [
        {"tenantId": tenant, "username": f"user {n}", "email": f"u{n}@example.com", "roleIds": roles[: n % 4]} for n in range(50)
    ]
    await still.done("createUsers", users=people)
    document = """query ($tenant: ID!) { users(filter: { tenantId: $tenant }, first: 50) {
        nodes { username tenant { name } roles { name tenant { name } } permissions }
    } }"""
    answer, statements = await still.counting(document, tenant=tenant)
    nodes = answer["data"]["users"]["nodes"]
    assert [len(user["roles"]) for user in nodes] == [n % 4 for n in range(50)]
    assert nodes[3]["permissions"] == ["permission 0", "permission 1", "permission 2"]
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT", "SELECT", "SELECT", "ROLLBACK"]


async def test_a_query_of_one_statement_needs_no_transaction(still: Api) -> None:
    user = await still.user(await still.tenant())
    for document in (
        "query ($id: ID!) { user(id: $id) { username version } }",
        "query ($id: ID!) { users(filter: { ids: [$id] }) { nodes { username } pageInfo { hasNextPage } } }",
        "query ($id: ID!) { events(filter: { streamId: $id }) { edges { node { type data actor } cursor } } }",
        "query ($id: ID!) { ...One } fragment One on Query { user(id: $id) { username } }",
    ):
        await still.answer(document, id=user)  # the driver asks for types that it does not know yet
        answer, statements = await still.counting(document, id=user)
        assert "errors" not in answer
        assert len(statements) == 1, document


async def test_a_past_state_that_is_held_takes_no_statement(still: Api) -> None:
    user = await still.user(await still.tenant())
    document = "query ($id: ID!) { user(id: $id, at: { version: 1 }) { username version } }"
    first = await still.answer(document, id=user)
    assert await still.counting(document, id=user) == (first, [])


async def test_the_total_is_counted_only_when_asked_for(still: Api) -> None:
    _, without = await still.counting("{ users { nodes { id } } }")
    _, counted = await still.counting("{ users { nodes { id } totalCount } }")
    assert not any("count(" in statement for statement in without)
    assert sum("count(" in statement for statement in counted) == 1


async def test_all_fields_of_a_query_see_one_state_of_the_database(still: Api) -> None:
    """The second field waits for a lock, and while it does the log grows; the third sees no more than the first."""
    tenant = await still.tenant()
    document = "{ first: head projections { name } last: head roles { nodes { id } } }"
    database = still.backend.store.database
    async with database.connection() as other, other.transaction():
        await other.execute("LOCK es.rebuilds IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.create_task(still.answer(document))
        await waiting(database)
        payload = await still.change("defineRole", tenantId=tenant, name="late", permissions=[])
    data = (await asked)["data"]
    assert data["first"] == data["last"] == payload["position"] - 1
    assert (await still.ask("{ head }"))["head"] == payload["position"]


async def test_the_state_is_that_of_when_the_tables_to_read_are_held(still: Api) -> None:
    """Otherwise a table that is filled and switched to after that state's moment would be read as it was then: empty."""
    database = still.backend.store.database
    async with database.connection() as other, other.transaction():
        await other.execute("LOCK read.tenants_history IN ACCESS EXCLUSIVE MODE")
        asked = asyncio.create_task(still.answer("{ head users { nodes { id } } tenants { nodes { id } } }"))
        await waiting(database)
        payload = await still.change("createTenant", name="late")
    assert (await asked)["data"]["head"] == payload["position"]


async def test_a_read_that_names_a_position_sees_it(api: Api) -> None:
    tenant = await api.tenant()
    for n in range(10):
        payload = await api.change("createUser", tenantId=tenant, username=f"user {n}", email=f"u{n}@example.com")
        position = payload["position"]
        document = """query ($t: ID!, $name: String!) {
            users(filter: { tenantId: $t }) { totalCount } found: users(filter: { tenantId: $t, search: $name }) { totalCount }
        }"""
        body = {"query": document, "variables": {"t": tenant, "name": f"user {n}"}}
        answer = await api.http.post("/graphql", json=body, headers={"hindsight-min-position": str(position)})
        assert answer.json()["data"] == {"users": {"totalCount": n + 1}, "found": {"totalCount": 1}}
        assert int(answer.headers["hindsight-position"]) == answer.json()["extensions"]["position"] >= position


async def test_a_read_waits_for_the_position_it_names(still: Api) -> None:
    await still.change("createTenant", name="Late")
    body = {"query": "{ tenants { nodes { name } } }", "extensions": {"minPosition": 1}}
    asked = asyncio.create_task(still.http.post("/graphql", json=body))
    await still.backend.engine.catch_up()
    assert (await asked).json()["data"]["tenants"]["nodes"] == [{"name": "Late"}]


async def test_a_read_that_would_wait_too_long_says_how_far_it_is(url: str) -> None:
    async with serving(url, run_projections=False, wait_ms=0) as api:
        await api.backend.engine.prepare()
        await api.change("createTenant", name="Late")
        body = {"query": "{ tenants { totalCount } }", "extensions": {"minPosition": 1}}
        answer = await api.http.post("/graphql", json=body, headers={"accept": "application/graphql-response+json"})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["extensions"]["code"]) == (503, "PROJECTION_BEHIND")
        assert "1 behind" in error["message"]
        then = await api.refused("{ tenants(asOf: { position: 1 }) { totalCount } }")
        assert then["code"] == "PROJECTION_BEHIND"
        assert await api.ask("{ head events { totalCount } }") == {"head": 1, "events": {"totalCount": 1}}


async def test_what_was_just_written_is_read_from_the_log_until_the_read_tables_have_it(still: Api) -> None:
    """The projections stand still: nothing of this has reached a read table."""
    tenant = (await still.change("createTenant", "tenant { id }", name="Acme"))["tenant"]["id"]
    role = (await still.change("defineRole", "role { id }", tenantId=tenant, name="reader", permissions=["read"]))["role"]["id"]
    user = {"tenant": {"name": "Acme"}, "roles": [{"name": "reader"}], "permissions": ["read"]}
    shown = "tenant { name } roles { name } permissions"
    new = {"tenantId": tenant, "username": "ann", "email": "ann@example.com", "roleIds": [role]}
    created = await still.change("createUser", f"user {{ id {shown} }}", **new)
    id = created["user"].pop("id")
    assert created["user"] == user
    document = f"query ($id: ID!) {{ user(id: $id) {{ {shown} }} then: user(id: $id, at: {{ version: 2 }}) {{ {shown} }} }}"
    assert await still.ask(document, id=id) == {"user": user, "then": user}


async def test_a_role_is_shown_as_at_a_moment_that_the_read_tables_have_not_reached(still: Api) -> None:
    tenant = await still.tenant()
    role = await still.role(tenant, "reader", "read")
    user = await still.user(tenant, roleIds=[role])
    await still.change("defineRole", id=role, name="writer", permissions=["write"])
    position = (await still.change("updateUserProfile", id=user, fullName="Ann"))["position"]
    assert position > still.backend.engine.reached(["roles"])
    document = "query ($id: ID!) { user(id: $id, at: { version: 3 }) { roles { name } } }"
    assert (await still.ask(document, id=user))["user"] == {"roles": [{"name": "writer"}]}


async def test_positions_are_told_on_every_answer(api: Api) -> None:
    tenant = await api.tenant()
    renamed = await api.http.post(
        "/graphql",
        json={
            "query": 'mutation ($id: ID!) { renameTenant(input: { id: $id, name: "B" }) { position } }',
            "variables": {"id": tenant},
        },
    )
    position = renamed.json()["data"]["renameTenant"]["position"]
    assert renamed.json()["extensions"]["position"] == position
    assert renamed.headers["hindsight-position"] == str(position)
    await api.backend.engine.wait_for(["tenants"], position, PATIENCE)
    read = await api.http.post("/graphql", json={"query": "{ tenants(first: 1) { nodes { id } } }"})
    assert int(read.headers["hindsight-position"]) >= position
