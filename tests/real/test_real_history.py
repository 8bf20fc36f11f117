"""Eight years of a real organisation's history go in, and every moment of it comes back out, through GraphQL."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.rebuilding import in_this_process
from app.security.tokens import Claims
from app.transfer import Files, import_files
from projections import PROJECTIONS
from projections.rebuild import rebuild, roll_back
from tests.real.conftest import EVENTS, OF_STREAM, TRUTH, USER_IDS, Imported, ask, by_hand

pytestmark = pytest.mark.anyio

WHO = """query ($id: ID!) { user(id: $id) {
    changes { field before after event { id } }
    blame { field value actor correlationId event { id } }
} }"""
ROLES_AND_USERS = """query ($asOf: AsOf!) {
    roles(asOf: $asOf, first: 100) { nodes { id name tenant { name } } }
    users(asOf: $asOf, first: 100) { nodes { id username tenant { name } } }
}"""
COMPARE = """query ($from: AsOf!, $to: AsOf!, $after: String) { compare(from: $from, to: $to, first: 100, after: $after) {
    nodes { kind before { username tenant { name } } after { username tenant { name } } }
    pageInfo { hasNextPage endCursor }
} }"""
PROOF = """query ($user: ID!, $at: Moment!, $role: ID!) { accessProof(userId: $user, at: $at, roleId: $role) {
    granted roles { role { id } held given { streamId data } taken { data } }
} }"""
THEIRS = """query ($id: ID!) { user(id: $id) { id } node(id: $id) { id } events(filter: {streamId: $id}) { totalCount } }"""
Directory = dict[str, dict[str, list[str]]]
"""Tenant name -> username -> role names."""

TENANTS = "query ($asOf: AsOf!) { tenants(asOf: $asOf, first: 100) { nodes { name } pageInfo { hasNextPage } } }"
USERS = """
    query ($asOf: AsOf!, $after: String) {
        users(asOf: $asOf, first: 100, after: $after, orderBy: [{field: USERNAME, direction: ASC}]) {
            nodes { username tenant { name } roles { name } }
            pageInfo { hasNextPage endCursor }
        }
    }
"""
MEMBERS = """
    WITH tenants AS (SELECT * FROM read.tenants_history WHERE from_position <= $1 AND (to_position > $1) IS NOT FALSE),
        users AS (SELECT * FROM read.users_history WHERE from_position <= $1 AND (to_position > $1) IS NOT FALSE),
        roles AS (SELECT * FROM read.roles_history WHERE from_position <= $1 AND (to_position > $1) IS NOT FALSE)
    SELECT tenants.name AS tenant, users.username, roles.name AS role FROM read.role_members member
    JOIN users ON users.id = user_id JOIN roles ON roles.id = role_id JOIN tenants ON tenants.id = member.tenant_id
    WHERE member.from_position <= $1 AND (member.to_position > $1) IS NOT FALSE AND NOT user_deleted
"""


async def test_every_truth_is_found_by_timestamp(imported: Imported) -> None:
    for truth in TRUTH:
        found = await directory(imported.client, {"timestamp": truth["at"]})
        assert found == ordered(truth["tenants"]), f"as of {truth['at']}"


async def test_every_truth_is_found_by_position(imported: Imported) -> None:
    for truth in TRUTH:
        found = await directory(imported.client, {"position": truth["position"]})
        assert found == ordered(truth["tenants"]), f"as of position {truth['position']}"


async def test_the_members_of_roles_are_those_of_every_truth(imported: Imported) -> None:
    for truth in TRUTH:
        found: Directory = defaultdict(lambda: defaultdict(list))
        for row in await imported.service.database.fetch(MEMBERS, truth["position"]):
            found[row["tenant"]][row["username"]].append(row["role"])
        with_roles = {tenant: {name: has for name, has in users.items() if has} for tenant, users in truth["tenants"].items()}
        assert ordered(found) == ordered({tenant: users for tenant, users in with_roles.items() if users})


async def test_truths_hold_after_a_rebuild_a_rollback_and_another_rebuild(imported: Imported) -> None:
    store = imported.service.store

    async def rebuild_all() -> None:
        rebuilt = await rebuild(store, PROJECTIONS, in_this_process(store, 1 << 30))
        assert [(each.compared, each.differences) for each in rebuilt] == [(True, 0)] * len(PROJECTIONS)

    async def roll_all_back() -> None:
        assert [await roll_back(store, projection) for projection in PROJECTIONS] == [1] * len(PROJECTIONS)

    for step in (rebuild_all, roll_all_back, rebuild_all):
        await step()
        for truth in TRUTH[9::9]:
            found = await directory(imported.client, {"position": truth["position"]})
            assert found == ordered(truth["tenants"]), f"as of position {truth['position']} after {step.__name__}"


async def test_changes_and_blame_of_ten_users_are_those_of_the_file(imported: Imported) -> None:
    for user in random.Random(2018).sample(USER_IDS, 10):
        own = OF_STREAM[user]
        found = (await ask(imported.client, WHO, {"id": user}))["user"]
        assert [(each["event"]["id"], each["field"], each["before"], each["after"]) for each in found["changes"]] == by_hand(own)
        last = {field: (after, event_id) for event_id, field, _, after in by_hand(own)}
        actors = {event["id"]: (event["actor"], event["correlationid"]) for event in own}
        for each in found["blame"]:
            value, event_id = last.get(each["field"], (None, own[0]["id"]))
            assert (each["value"], each["event"]["id"]) == (value, event_id)
            assert (each["actor"], each["correlationId"]) == actors[event_id]


async def test_neighbouring_truths_differ_by_what_is_compared(imported: Imported) -> None:
    for place in random.Random(2018).sample(range(1, len(TRUTH)), 12):
        before, after = (people(TRUTH[each]) for each in (place - 1, place))
        for key in ("position", "timestamp"):
            moments = [TRUTH[each]["position" if key == "position" else "at"] for each in (place - 1, place)]
            found: dict[str, set[tuple[str, str]]] = {"APPEARED": set(), "DISAPPEARED": set(), "CHANGED": set()}
            page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
            while page["hasNextPage"]:
                asked = {"from": {key: moments[0]}, "to": {key: moments[1]}, "after": page["endCursor"]}
                compared = (await ask(imported.client, COMPARE, asked))["compare"]
                for each in compared["nodes"]:
                    user = each["after"] or each["before"]
                    found[each["kind"]].add((user["tenant"]["name"], user["username"]))
                page = compared["pageInfo"]
            assert found == {
                "APPEARED": after.keys() - before.keys(),
                "DISAPPEARED": before.keys() - after.keys(),
                "CHANGED": {user for user in before.keys() & after.keys() if before[user] != after[user]},
            }


def people(truth: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """The role names of each user of each tenant."""
    return {(tenant, name): sorted(has) for tenant, users in truth["tenants"].items() for name, has in users.items()}


async def test_access_is_proven_for_and_against_at_truths(imported: Imported) -> None:
    chance, seen = random.Random(2018), {True: 0, False: 0}
    for truth in chance.sample(TRUTH, 10):
        as_of = {"position": truth["position"]}
        listed = await ask(imported.client, ROLES_AND_USERS, {"asOf": as_of})
        roles = {(role["tenant"]["name"], role["name"]): role["id"] for role in listed["roles"]["nodes"]}
        for user in chance.sample(listed["users"]["nodes"], 8):
            has = truth["tenants"][user["tenant"]["name"]][user["username"]]
            for (tenant, name), role in chance.sample(sorted(roles.items()), 5) + [
                (key, id) for key, id in roles.items() if key[0] == user["tenant"]["name"] and key[1] in has
            ]:
                asked = {"user": user["id"], "at": as_of, "role": role}
                proof = (await ask(imported.client, PROOF, asked))["accessProof"]
                assert proof["granted"] is (tenant == user["tenant"]["name"] and name in has), (truth["at"], user, name)
                for each in proof["roles"]:
                    assert user["id"] == each["given"]["streamId"]
                    assert role_ids(each["given"]) >= {each["role"]["id"]}
                    assert each["held"] is (each["taken"] is None)
                    assert each["taken"] is None or each["role"]["id"] not in role_ids(each["taken"])
                seen[proof["granted"]] += 1
    assert min(seen.values()) > 20


def role_ids(assigned: dict[str, Any]) -> set[str]:
    return set(assigned["data"]["roleIds"])


async def test_accounts_of_two_organisations_each_see_their_own_years_and_nothing_else(imported: Imported) -> None:
    everybody = (await ask(imported.client, ROLES_AND_USERS, {"asOf": {"position": TRUTH[-1]["position"]}}))["users"]["nodes"]
    accounts = {user["tenant"]["name"]: user["id"] for user in everybody}
    one, other, *_ = sorted(accounts)
    for own, foreign in ((one, other), (other, one)):
        async with bearing(imported.app, accounts[own]) as client:
            for truth in TRUTH:
                expected = {tenant: users for tenant, users in truth["tenants"].items() if tenant == own}
                assert await directory(client, {"timestamp": truth["at"]}) == ordered(expected)
                assert await directory(client, {"position": truth["position"]}) == ordered(expected)
            events = await ask(client, "{ events { totalCount } eventStats { total byTenant { tenant { name } count } } }", {})
            total = events["events"]["totalCount"]
            assert events["eventStats"] == {"total": total, "byTenant": [{"tenant": {"name": own}, "count": total}]}
            nothing = {"user": None, "node": None, "events": {"totalCount": 0}}
            assert await ask(client, THEIRS, {"id": accounts[foreign]}) == nothing


@asynccontextmanager
async def bearing(app: Starlette, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a token for that user, who may read events."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    token = app.state.backend.tokens.sign(Claims(subject=user_id, permissions=frozenset({"event.read"}), expires_at=soon))
    headers = {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hindsight", headers=headers, timeout=None) as client:
        yield client


async def test_importing_again_adds_nothing(imported: Imported) -> None:
    result = await import_files(imported.service.store, Files([EVENTS]))
    assert (result.seen, result.added, result.position) == (20_124, 0, 20_124)
    assert await imported.service.store.head() == 20_124


async def directory(client: httpx.AsyncClient, as_of: dict[str, Any]) -> Directory:
    """The whole directory as of a moment, paged as a client would."""
    tenants = (await ask(client, TENANTS, {"asOf": as_of}))["tenants"]
    assert not tenants["pageInfo"]["hasNextPage"]
    found: Directory = {tenant["name"]: {} for tenant in tenants["nodes"]}
    page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while page["hasNextPage"]:
        users = (await ask(client, USERS, {"asOf": as_of, "after": page["endCursor"]}))["users"]
        for user in users["nodes"]:
            of_tenant = found[user["tenant"]["name"]]
            assert user["username"] not in of_tenant, "each user comes once"
            of_tenant[user["username"]] = [role["name"] for role in user["roles"]]
        page = users["pageInfo"]
    return ordered(found)


def ordered(tenants: Directory) -> Directory:
    return {tenant: {username: sorted(roles) for username, roles in users.items()} for tenant, users in tenants.items()}
