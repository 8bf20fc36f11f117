"""The log in the graph."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

EVENT = """
    __typename id type schemaVersion position version streamId streamType occurredAt recordedAt
    actor correlationId causationId ipAddress userAgent data subject { __typename id } tenant { id }
"""


async def test_an_event_tells_what_happened_to_whom_when_and_why(api: Api) -> None:
    tenant = await api.tenant()
    headers = {"x-correlation-id": "ticket 17", "x-causation-id": "message 4", "user-agent": "a test"}
    document = f"""mutation ($input: CreateUserInput!) {{ createUser(input: $input) {{
        events {{ {EVENT} ... on UserCreated {{ username email fullName phone }} }} user {{ id createdAt }} position
    }} }}"""
    input = {"tenantId": tenant, "username": "ann", "email": "ann@example.com"}
    created = (await api.answer(document, headers, input=input))["data"]["createUser"]
    (event,) = created["events"]
    assert event == {
        "__typename": "UserCreated",
        "id": event["id"],
        "type": "UserCreated",
        "schemaVersion": 1,
        "position": created["position"],
        "version": 1,
        "streamId": created["user"]["id"],
        "streamType": "User",
        "occurredAt": created["user"]["createdAt"],
        "recordedAt": event["recordedAt"],
        "actor": "operator",
        "correlationId": "ticket 17",
        "causationId": "message 4",
        "ipAddress": "192.0.2.7",
        "userAgent": "a test",
        "data": {"username": "ann", "email": "ann@example.com", "fullName": None, "phone": None},
        "subject": {"__typename": "User", "id": created["user"]["id"]},
        "tenant": {"id": tenant},
        "username": "ann",
        "email": "ann@example.com",
        "fullName": None,
        "phone": None,
    }
    document = f"query ($id: ID!) {{ event(id: $id) {{ {EVENT} }} node(id: $id) {{ {EVENT} }} }}".replace(
        f"node(id: $id) {{ {EVENT} }}", f"node(id: $id) {{ ... on Event {{ {EVENT} }} }}"
    )
    read = await api.ask(document, id=event["id"])
    assert read["event"] == read["node"] == {key: event[key] for key in read["event"]}


async def test_without_a_correlation_the_events_of_a_request_share_its_id(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant)
    payload = await api.done(
        "createUser",
        "events { correlationId causationId ... on RolesAssigned { roleIds assignedBy } }",
        tenantId=tenant,
        username="ann",
        email="ann@example.com",
        roleIds=[role],
    )
    created, assigned = payload["events"]
    assert created["correlationId"] == assigned["correlationId"] != ""
    assert created["causationId"] is None
    assert (assigned["roleIds"], assigned["assignedBy"]) == ([role], "operator")


async def test_the_log_is_filtered(api: Api) -> None:
    tenant = await api.tenant()
    user = await api.user(tenant)
    await api.done("lockUser", id=user, reason="lost")
    await api.role(tenant)
    document = (
        "query ($filter: EventFilter) { events(filter: $filter, order: OLDEST_FIRST) { totalCount nodes { type position } } }"
    )

    async def types(**filter: object) -> list[str]:
        events = (await api.ask(document, filter={"tenantId": tenant, **filter}))["events"]
        positions.extend(event["position"] for event in events["nodes"])
        assert events["totalCount"] == len(events["nodes"])
        return [event["type"] for event in events["nodes"]]

    positions: list[int] = []
    assert await types() == ["TenantCreated", "UserCreated", "AccountLocked", "RoleDefined"]
    _, created, locked, _ = positions
    assert await types(streamId=user) == ["UserCreated", "AccountLocked"]
    assert await types(types=["UserCreated", "RoleDefined"]) == ["UserCreated", "RoleDefined"]
    assert await types(fromPosition=created, toPosition=locked) == ["UserCreated", "AccountLocked"]
    assert await types(occurredAfter="2999-01-01T00:00:00Z") == []
    assert await types(occurredBefore="2999-01-01T00:00:00+14:00", types=["RoleDefined"]) == ["RoleDefined"]


async def test_the_log_comes_newest_first_and_a_history_oldest_first(api: Api) -> None:
    tenant = await api.tenant()
    user = await api.user(tenant)
    await api.done("deleteUser", id=user)
    document = """query ($tenant: ID!, $user: ID!) {
        events(filter: { tenantId: $tenant }, first: 2) { nodes { type } }
        user(id: $user) { history { nodes { type } } newest: history(order: NEWEST_FIRST, first: 1) { nodes { type } } }
        tenant(id: $tenant) { history(filter: { types: ["TenantCreated", "UserDeleted"] }) { nodes { type } } }
    }"""
    answer = await api.ask(document, tenant=tenant, user=user)
    assert [event["type"] for event in answer["events"]["nodes"]] == ["UserDeleted", "UserCreated"]
    assert [event["type"] for event in answer["user"]["history"]["nodes"]] == ["UserCreated", "UserDeleted"]
    assert [event["type"] for event in answer["user"]["newest"]["nodes"]] == ["UserDeleted"]
    assert [event["type"] for event in answer["tenant"]["history"]["nodes"]] == ["TenantCreated"]


async def test_events_are_counted_by_kind_tenant_and_day(api: Api) -> None:
    tenant = await api.tenant()
    for name in ("a", "b"):
        await api.user(tenant, name)
    document = """query ($filter: EventStatsFilter) { eventStats(filter: $filter) {
        total byType { type count } byTenant { tenant { id } count } byDay { day count }
    } }"""
    stats = (await api.ask(document, filter={"tenantId": tenant}))["eventStats"]
    assert stats["total"] == 3
    assert stats["byType"] == [{"type": "UserCreated", "count": 2}, {"type": "TenantCreated", "count": 1}]
    assert stats["byTenant"] == [{"tenant": {"id": tenant}, "count": 3}]
    assert sum(day["count"] for day in stats["byDay"]) == 3
    today = datetime.now(UTC).date().isoformat()
    assert stats["byDay"][-1]["day"] <= today
    only = (await api.ask(document, filter={"tenantId": tenant, "types": ["UserCreated"], "fromDay": "2020-01-01"}))["eventStats"]
    assert only["total"] == 2
    assert (await api.ask(document, filter={"tenantId": tenant, "toDay": "2020-01-01"}))["eventStats"]["total"] == 0


async def test_nodes_come_in_the_order_of_their_ids(api: Api) -> None:
    tenant = await api.tenant()
    user, role = await api.user(tenant), await api.role(tenant)
    event = (await api.ask("{ events(first: 1) { nodes { id } } }"))["events"]["nodes"][0]["id"]
    ids = [role, event, tenant, user, role]
    nodes = (await api.ask("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=ids))["nodes"]
    assert [node["id"] for node in nodes] == ids
    assert [node["__typename"] for node in nodes] == ["Role", "RoleDefined", "Tenant", "User", "Role"]


async def test_events_by_who_caused_them_as_part_of_what_and_after_what(api: Api) -> None:
    tenant = await api.tenant()
    rename = "mutation ($input: RenameTenantInput!) { renameTenant(input: $input) { events { id } } }"
    chain: list[str] = []
    for name in ("One", "Two", "Three"):
        headers = {"x-correlation-id": f"work on {tenant}"} | ({"x-causation-id": chain[-1]} if chain else {})
        answer = await api.answer(rename, headers, input={"id": tenant, "name": name})
        chain.append(answer["data"]["renameTenant"]["events"][0]["id"])
    events = "query ($filter: EventFilter!) { events(filter: $filter, order: OLDEST_FIRST) { nodes { id } totalCount } }"

    async def found(**filter: str) -> list[str]:
        return [each["id"] for each in (await api.ask(events, filter=filter))["events"]["nodes"]]

    assert await found(correlationId=f"work on {tenant}") == chain
    assert await found(correlationId=f"work on {tenant}", actor="operator") == chain
    assert await found(correlationId=f"work on {tenant}", actor="somebody else") == []
    assert await found(causationId=chain[0]) == [chain[1]]
    why = "query ($id: ID!) { event(id: $id) { causes { id } effects { id } } }"
    told = [(await api.ask(why, id=id))["event"] for id in chain]
    assert [[each["id"] for each in event["causes"]] for event in told] == [[], [chain[0]], [chain[1], chain[0]]]
    assert [[each["id"] for each in event["effects"]] for event in told] == [[chain[1]], [chain[2]], []]


@pytest.mark.parametrize("cause", ["message 4", "01a20bb1-0000-7000-8000-000000000000"])
async def test_a_cause_that_is_no_event_ends_the_chain(api: Api, cause: str) -> None:
    create = "mutation ($input: CreateTenantInput!) { createTenant(input: $input) { events { causationId causes { id } } } }"
    answer = await api.answer(create, {"x-causation-id": cause}, input={"name": "Acme"})
    assert answer["data"]["createTenant"]["events"] == [{"causationId": cause, "causes": []}]
