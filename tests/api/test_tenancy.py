"""Tenants see nothing of each other: in no list, count, cursor, id, history, message or route, and change nothing either."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.api.permissions import needs_of
from tests.api.conftest import Api
from tests.api.operations import arguments, document, roots
from tests.api.test_logins import attempt

pytestmark = pytest.mark.anyio

EVENT = "id type streamId actor data subject { id } tenant { id name } causes { id } effects { id }"
USER_FIELDS = "id username email tenant { id name } roles { id name } permissions"
THINGS = f"""query ($ids: [ID!]!, $id: ID!, $at: Moment!, $asOf: AsOf!) {{
    nodes(ids: $ids) {{ __typename id }}
    node(id: $id) {{ __typename id }}
    then: node(id: $id, at: $at) {{ __typename id }}
    user(id: $id) {{ {USER_FIELDS} history {{ totalCount nodes {{ {EVENT} }} }} blame {{ field value }} }}
    before: user(id: $id, at: $at) {{ {USER_FIELDS} }}
    role(id: $id) {{ id members {{ totalCount nodes {{ id }} }} }}
    tenant(id: $id) {{ id name }}
    event(id: $id) {{ {EVENT} }}
    users(filter: {{ ids: $ids, includeDeleted: true }}) {{ totalCount nodes {{ id }} }}
    inTenant: users(filter: {{ tenantId: $id }}) {{ totalCount nodes {{ id }} }}
    withRole: users(filter: {{ roleId: $id }}, asOf: $asOf) {{ totalCount nodes {{ id }} }}
    roles(filter: {{ tenantId: $id }}) {{ totalCount nodes {{ id }} }}
    tenants(filter: {{ ids: $ids }}) {{ totalCount nodes {{ id }} }}
    logins(filter: {{ userId: $id }}) {{ totalCount nodes {{ id }} }}
    ofTenant: logins(filter: {{ tenantId: $id }}) {{ totalCount nodes {{ id }} }}
    events(filter: {{ streamId: $id }}) {{ totalCount nodes {{ id }} }}
    allEvents: events(filter: {{ tenantId: $id }}) {{ totalCount nodes {{ id }} }}
    eventStats(filter: {{ tenantId: $id }}) {{ total byType {{ type count }} }}
    compare(filter: {{ ids: $ids }}, from: {{ position: 1 }}, to: $asOf) {{ totalCount nodes {{ userId }} }}
}}"""
LISTS = f"""query ($asOf: AsOf!, $username: String!, $email: String!) {{
    users(first: 100, filter: {{ includeDeleted: true }}) {{ totalCount nodes {{ {USER_FIELDS} }} }}
    then: users(first: 100, filter: {{ includeDeleted: true }}, asOf: $asOf) {{ totalCount nodes {{ {USER_FIELDS} }} }}
    named: users(filter: {{ roleName: "admin", includeDeleted: true }}) {{ totalCount nodes {{ id }} }}
    either: users(filter: {{ or: [{{ username: $username }}, {{ not: {{ email: $email }} }}], includeDeleted: true }}) {{
        totalCount nodes {{ id }}
    }}
    userByUsername(username: $username) {{ {USER_FIELDS} }}
    roles(first: 100, filter: {{ includeRetired: true }}) {{
        totalCount nodes {{ id name members {{ totalCount edges {{ node {{ id }} }} }} }}
    }}
    rolesThen: roles(first: 100, asOf: $asOf) {{ totalCount nodes {{ id name }} }}
    tenants {{ totalCount nodes {{ id name }} }}
    tenantsThen: tenants(asOf: $asOf) {{ totalCount nodes {{ id name }} }}
    events(first: 100) {{ totalCount nodes {{ {EVENT} }} }}
    ofOperator: events(filter: {{ actor: "operator" }}, first: 100) {{ totalCount nodes {{ id }} }}
    logins(first: 100) {{ totalCount nodes {{ id user {{ id }} }} }}
    eventStats {{ total byType {{ type count }} byTenant {{ tenant {{ id }} count }} byDay {{ day count }} }}
    compare(first: 100, filter: {{ includeDeleted: true }}, from: {{ position: 1 }}, to: $asOf) {{
        totalCount nodes {{ userId }}
    }}
}}"""

SPECS = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "cy", "dee"]), st.booleans(), st.booleans(), st.booleans()),
    max_size=4,
    unique_by=lambda spec: spec[0],
)
"""Users of a tenant: name, whether with a role, whether logged in, whether deleted."""


class Known(NamedTuple):
    """What there is of a tenant."""

    mark: str
    """In every text of its own."""
    tenant: str
    role: str
    users: list[str]
    events: list[str]
    position: int

    @property
    def ids(self) -> list[str]:
        return [self.tenant, self.role, *self.users, *self.events]


async def made(api: Api, mark: str, specs: list[tuple[str, bool, bool, bool]]) -> Known:
    """A tenant with users, of whom some did more than others. Its users have the names of every other tenant's."""
    tenant = await api.tenant(f"{mark} Acme")
    role = await api.role(tenant, "admin", f"{mark}.use")
    users = []
    for name, has_role, logged_in, deleted in specs:
        user = await api.user(tenant, name, fullName=f"{mark} {name}", roleIds=[role] if has_role else [])
        users.append(user)
        if logged_in:
            await attempt(api, user, succeeded=True)
        if deleted:
            await api.done("deleteUser", id=user, reason=mark)
    await api.done("renameTenant", id=tenant, name=f"{mark} Inc")
    found = await api.ask("query ($id: ID!) { events(filter: {tenantId: $id}, first: 100) { nodes { id position } } }", id=tenant)
    events = found["events"]["nodes"]
    return Known(mark, tenant, role, users, [each["id"] for each in events], events[0]["position"])


@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=SPECS, others=SPECS)
async def test_nothing_of_one_tenant_is_in_any_answer_to_the_other(
    walls: Api, mine: list[tuple[str, bool, bool, bool]], others: list[tuple[str, bool, bool, bool]]
) -> None:
    one, other = await made(walls, f"one{uuid4().hex}", mine), await made(walls, f"other{uuid4().hex}", others)
    for own, foreign in ((one, other), (other, one)):
        answers = [answer async for answer in everything(walls, own, foreign)]
        text = json.dumps(answers)
        assert foreign.mark not in text
        assert [id for id in foreign.ids if id in text] == []
        lists = answers[0]["data"]
        assert {user["id"] for user in lists["users"]["nodes"]} == set(own.users)
        assert lists["users"]["totalCount"] == lists["then"]["totalCount"] == len(own.users)
        assert lists["events"]["totalCount"] == lists["eventStats"]["total"] == len(own.events)
        assert [each["id"] for each in lists["tenants"]["nodes"]] == [own.tenant]


async def everything(api: Api, own: Known, foreign: Known) -> Any:
    """Answers to one tenant, about everything and about the other's things."""
    headers = {"authorization": api.bearer("auditor", {"*"}, tenant_id=UUID(own.tenant))}
    last = max(own.position, foreign.position)
    names = {"username": "ann", "email": "bob@example.com"}
    yield await api.answer(LISTS, headers, asOf={"position": last}, **names)
    for id in foreign.ids:
        hidden = await api.answer(THINGS, headers, ids=[id], id=id, at={"position": last}, asOf={"position": last})
        assert "errors" not in hidden, hidden
        assert shows_nothing(hidden["data"]), hidden
        for route in (f"/events/user/{id}/history", f"/events/user/{id}/replay"):
            assert (await api.http.get(route, headers=headers)).status_code == 404
    for route in ("/events/stats", "/events/recent?limit=100"):
        yield (await api.http.get(route, headers=headers)).json()


def shows_nothing(value: Any) -> bool:
    """No object, no item, no number but 0."""
    match value:
        case dict():
            return all(map(shows_nothing, value.values()))
        case list():
            return all(map(shows_nothing, value))
        case _:
            return value in (None, 0)


async def test_the_other_tenants_things_are_to_every_operation_as_if_they_were_not_there(walls: Api) -> None:
    foreign = await made(walls, uuid4().hex, [("ann", True, False, False)])
    theirs = {"tenant": foreign.tenant, "role": foreign.role, "user": foreign.users[0], "event": foreign.events[0]}
    absent = {name: str(uuid4()) for name in theirs}
    own = UUID(await walls.tenant())
    for kind, name, field in roots():
        if needs_of(field).everywhere or needs_of(field).open or name == "rateLimit":  # which each request lowers
            continue
        headers = {"authorization": walls.bearer("auditor", {"*"}, tenant_id=own)}
        texts = []
        for ids in (theirs, absent):
            answer = await walls.answer(document(kind, name, field), headers, **arguments(name, field, ids))
            text = json.dumps({"data": answer.get("data"), "errors": [each["message"] for each in answer.get("errors", ())]})
            for word, id in ids.items():
                text = text.replace(id, word)
            texts.append(text)
        assert texts[0] == texts[1], name
    unchanged = await walls.ask("query ($id: ID!) { user(id: $id) { version } }", id=theirs["user"])
    assert unchanged["user"] == {"version": 2}


@pytest.mark.parametrize("kind", ["user", "role", "tenant"])
async def test_what_is_asked_for_alone_is_hidden_too(walls: Api, kind: str) -> None:
    """By the lookups that many operations share, whosever they are."""
    foreign = await made(walls, uuid4().hex, [("ann", True, False, False)])
    theirs = {"tenant": foreign.tenant, "role": foreign.role, "user": foreign.users[0]}[kind]
    query = f"query ($id: ID!) {{ {kind}(id: $id) {{ id }} }}"
    assert await walls.ask(query, id=theirs) == {kind: {"id": theirs}}
    headers = {"authorization": walls.bearer("auditor", {"*"}, tenant_id=UUID(await walls.tenant()))}
    assert (await walls.answer(query, headers, id=theirs))["data"] == {kind: None}


async def test_a_token_is_for_no_tenant_but_its_own(api: Api) -> None:
    """Also where a command names its tenant itself, or a role of another one."""
    mine, theirs = await api.tenant(), await api.tenant()
    role = await api.role(theirs)
    api_headers = {"authorization": api.bearer("admin", {"*"}, tenant_id=UUID(mine))}
    create = """mutation ($tenant: ID!, $roles: [ID!]!) {
        createUser(input: {tenantId: $tenant, username: "x", email: "x@example.com", roleIds: $roles}) { problems { code } }
    }"""
    for tenant, roles, code in ((theirs, [], "NO_SUCH_TENANT"), (mine, [role], "NO_SUCH_ROLE")):
        answer = await api.answer(create, api_headers, tenant=tenant, roles=roles)
        (problem,) = answer["data"]["createUser"]["problems"]
        assert problem["code"] == code


async def test_an_idempotency_key_of_another_tenant_is_another_key(api: Api) -> None:
    create = """mutation ($tenant: ID!) {
        createUser(input: {tenantId: $tenant, username: "x", email: "x@example.com", idempotencyKey: "once"}) { user { id } }
    }"""
    made_users = set()
    for tenant in (await api.tenant(), await api.tenant()):
        headers = {"authorization": api.bearer("robot", {"*"}, tenant_id=UUID(tenant))}
        made_users.add((await api.answer(create, headers, tenant=tenant))["data"]["createUser"]["user"]["id"])
    assert len(made_users) == 2
