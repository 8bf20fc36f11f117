"""Every form of an auditor's question, asked of the real history: the answer is what a reader of the file finds by hand."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any
from uuid import UUID

import pytest

from app.settings import PREFIX
from tests.real.conftest import FILE, OF_STREAM, TRUTH, USER_IDS, Imported, ask, by_hand
from tests.test_cli import in_a_process

pytestmark = pytest.mark.anyio

CHANCE = random.Random(2018)
TEN = CHANCE.sample(USER_IDS, 10)
LONGEST = sorted(USER_IDS, key=lambda id: len(OF_STREAM[id]))[-30:]
SOME = FILE[9_000]

STATE = "username email fullName phone status roleIds: roles { id } createdAt deletedAt version"
AT = f"query ($id: ID!, $at: Moment!) {{ user(id: $id, at: $at) {{ {STATE} }} }}"
REPLAY = """query ($id: ID!, $at: Moment, $useSnapshot: Boolean!) { user(id: $id) {
    replay(at: $at, useSnapshot: $useSnapshot) { state version position eventsRead differences { field } }
} }"""
EVENTS = """query ($filter: EventFilter, $order: EventOrder!, $first: Int, $after: String, $last: Int, $before: String) {
    events(filter: $filter, order: $order, first: $first, after: $after, last: $last, before: $before) {
        nodes { id position causes { id } effects { id } } totalCount
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}"""
HISTORY = """query ($id: ID!, $filter: EventFilter, $order: EventOrder!) {
    user(id: $id) { history(filter: $filter, order: $order, first: 100) { nodes { id } totalCount } }
}"""
STATS = """query ($filter: EventStatsFilter) { eventStats(filter: $filter) {
    total byType { type count } byTenant { tenant { id } count } byDay { day count }
} }"""
ROLES = "query ($asOf: AsOf!) { roles(asOf: $asOf, first: 100) { nodes { id name tenant { name } } } }"
MEMBERS = """query ($id: ID!, $asOf: AsOf!, $after: String) { role(id: $id) {
    members(asOf: $asOf, first: 50, after: $after) { nodes { username } totalCount pageInfo { hasNextPage endCursor } }
} }"""
REVERT = """mutation ($id: ID!, $at: Moment!) {
    changed: revertUser(input: { id: $id, at: $at }) { events { type } version problems { code message } }
}"""
RESTORE = """mutation ($id: ID!) {
    changed: restoreUser(input: { id: $id }) { events { type } version problems { code message } }
}"""


def as_of(id: str, version: int) -> dict[str, Any]:
    """The user's fields after so many events, by hand."""
    state: dict[str, Any] = {"fullName": None, "phone": None, "deletedAt": None}
    for _, field, _, after in by_hand(OF_STREAM[id][:version]):
        state[field] = after
    return state


def shown(user: dict[str, Any]) -> dict[str, Any]:
    return user | {"roleIds": [role["id"] for role in user["roleIds"]]}


async def test_users_at_each_of_their_moments(imported: Imported) -> None:
    for id in TEN:
        own = OF_STREAM[id]
        assert (await ask(imported.client, AT, {"id": id, "at": {"position": own[0]["position"] - 1}}))["user"] is None
        for version, event in enumerate(own, start=1):
            last_then = max(each for each, other in enumerate(own, start=1) if other["time"] <= event["time"])
            moments = [({"version": version}, version), ({"position": event["position"]}, version)]
            for at, seen in [*moments, ({"timestamp": event["time"]}, last_then)]:
                user = shown((await ask(imported.client, AT, {"id": id, "at": at}))["user"])
                state = as_of(id, seen)
                assert user.pop("version") == seen
                assert {**user, "roleIds": sorted(user["roleIds"])} == {
                    **{field: state[field] for field in user},
                    "roleIds": sorted(state["roleIds"]),
                }


async def test_users_folded_again(imported: Imported) -> None:
    await imported.service.store.states.take_snapshot(UUID(LONGEST[-1]), "to be replayed", imported.service.database)
    for id in (*TEN, *LONGEST[-2:]):
        whole = len(OF_STREAM[id])
        for version, use_snapshot in ((whole, False), (whole, True), (CHANCE.randint(1, whole), True)):
            asked = {"id": id, "at": {"version": version}, "useSnapshot": use_snapshot}
            replay = (await ask(imported.client, REPLAY, asked))["user"]["replay"]
            assert (replay["version"], replay["position"]) == (version, OF_STREAM[id][version - 1]["position"])
            assert replay["differences"] == []
            assert replay["eventsRead"] == (0 if id == LONGEST[-1] and use_snapshot and version == whole else version)
            state = as_of(id, version)
            assert {field: replay["state"][field] for field in ("username", "email", "roleIds", "deletedAt", "createdAt")} == {
                field: state[field] for field in ("username", "email", "roleIds", "deletedAt", "createdAt")
            }


Counts = Callable[[dict[str, Any]], bool]

FILTERS: list[tuple[dict[str, Any], Counts]] = [
    ({"types": ["UserRestored"]}, lambda event: event["type"] == "UserRestored"),
    ({"types": ["UserRestored", "RoleRetired"]}, lambda event: event["type"] in ("UserRestored", "RoleRetired")),
    ({"types": ["UserDeleted"], "tenantId": SOME["tenantid"]}, lambda event: of_tenant(event) and event["type"] == "UserDeleted"),
    ({"streamId": LONGEST[-1]}, lambda event: event["subject"] == f"User/{LONGEST[-1]}"),
    ({"actor": SOME["actor"], "types": ["UserCreated"]}, lambda event: by_actor(event) and event["type"] == "UserCreated"),
    ({"correlationId": SOME["correlationid"]}, lambda event: event["correlationid"] == SOME["correlationid"]),
    (
        {"occurredAfter": "2020-03-01T00:00:00Z", "occurredBefore": "2020-03-15T00:00:00Z"},
        lambda event: "2020-03-01" <= event["time"] < "2020-03-15",
    ),
    ({"fromPosition": 700, "toPosition": 850}, lambda event: 700 <= event["position"] <= 850),
    ({"tenantId": SOME["tenantid"], "toPosition": 2_000}, lambda event: of_tenant(event) and event["position"] <= 2_000),
    (
        {"actor": SOME["actor"], "occurredAfter": "2021-01-01T00:00:00Z", "occurredBefore": "2021-06-01T00:00:00Z"},
        lambda event: by_actor(event) and "2021-01-01" <= event["time"] < "2021-06-01",
    ),
    ({"causationId": SOME["id"]}, lambda event: False),
]


def of_tenant(event: dict[str, Any]) -> bool:
    return bool(event["tenantid"] == SOME["tenantid"])


def by_actor(event: dict[str, Any]) -> bool:
    return bool(event["actor"] == SOME["actor"])


@pytest.mark.parametrize(("filter", "counts"), FILTERS)
async def test_events_by_each_filter_both_ways(imported: Imported, filter: dict[str, Any], counts: Counts) -> None:
    wanted = [event["id"] for event in FILE if counts(event)]
    for order, ids in (("OLDEST_FIRST", wanted), ("NEWEST_FIRST", wanted[::-1])):
        forwards, page = list[str](), {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            asked = {"filter": filter, "order": order, "first": 60, "after": page["endCursor"]}
            events = (await ask(imported.client, EVENTS, asked))["events"]
            page, forwards = events["pageInfo"], forwards + [event["id"] for event in events["nodes"]]
            assert events["totalCount"] == len(wanted)
            assert all(event["causes"] == event["effects"] == [] for event in events["nodes"]), "the file names no causes"
        backwards, page = list[str](), {"hasPreviousPage": True, "startCursor": None}
        while page["hasPreviousPage"]:
            asked = {"filter": filter, "order": order, "last": 60, "before": page["startCursor"]}
            events = (await ask(imported.client, EVENTS, asked))["events"]
            page, backwards = events["pageInfo"], [event["id"] for event in events["nodes"]] + backwards
        assert forwards == backwards == ids


async def test_histories_by_each_filter(imported: Imported) -> None:
    for id in LONGEST[-5:]:
        own = OF_STREAM[id]
        middle = own[len(own) // 2]
        of_actor = [event for event in own if event["actor"] == middle["actor"]]
        of_work = [event for event in own if event["correlationid"] == middle["correlationid"]]
        filters: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
            ({}, own),
            ({"types": ["UserDeleted", "UserRestored"]}, [event for event in own if event["type"] != "RolesAssigned"][1:]),
            ({"actor": middle["actor"]}, of_actor),
            ({"correlationId": middle["correlationid"]}, of_work),
            ({"occurredBefore": middle["time"]}, [event for event in own if event["time"] < middle["time"]]),
            ({"occurredAfter": middle["time"]}, [event for event in own if event["time"] >= middle["time"]]),
        ]
        for filter, events in filters:
            wanted = [event["id"] for event in events]
            for order, ids in (("OLDEST_FIRST", wanted), ("NEWEST_FIRST", wanted[::-1])):
                asked = {"id": id, "filter": filter, "order": order}
                history = (await ask(imported.client, HISTORY, asked))["user"]["history"]
                assert ([event["id"] for event in history["nodes"]], history["totalCount"]) == (ids, len(wanted)), filter


async def test_events_counted_by_type_tenant_and_day(imported: Imported) -> None:
    days = sorted({event["time"][:10] for event in FILE})
    filters: list[dict[str, Any]] = [{}, {"types": ["UserCreated", "RoleDefined"]}, {"tenantId": SOME["tenantid"]}]
    for _ in range(5):
        first, last = sorted(CHANCE.sample(days, 2))
        filters += [{"fromDay": first, "toDay": last}, {"tenantId": SOME["tenantid"], "fromDay": first}, {"toDay": first}]
    for filter in filters:
        counted = [
            event
            for event in FILE
            if event["type"] in filter.get("types", [event["type"]])
            and event["tenantid"] == filter.get("tenantId", event["tenantid"])
            and filter.get("fromDay", "") <= event["time"][:10] <= filter.get("toDay", "9999")
        ]
        stats = (await ask(imported.client, STATS, {"filter": filter}))["eventStats"]
        assert stats["total"] == len(counted)
        assert {each["type"]: each["count"] for each in stats["byType"]} == Counter(event["type"] for event in counted)
        by_tenant = {each["tenant"]["id"]: each["count"] for each in stats["byTenant"]}
        assert by_tenant == Counter(event["tenantid"] for event in counted)
        by_day = [(day, len(list(of_day))) for day, of_day in groupby(counted, lambda event: event["time"][:10])]
        assert [(each["day"], each["count"]) for each in stats["byDay"]] == by_day


async def test_the_members_of_roles_at_truths(imported: Imported) -> None:
    asked = 0
    for truth in CHANCE.sample(TRUTH, 6):
        for moment in ({"position": truth["position"]}, {"timestamp": truth["at"]}):
            roles = (await ask(imported.client, ROLES, {"asOf": moment}))["roles"]["nodes"]
            for role in CHANCE.sample(roles, min(10, len(roles))):
                users = truth["tenants"][role["tenant"]["name"]]
                found, page = list[str](), {"hasNextPage": True, "endCursor": None}
                while page["hasNextPage"]:
                    variables = {"id": role["id"], "asOf": moment, "after": page["endCursor"]}
                    members = (await ask(imported.client, MEMBERS, variables))["role"]["members"]
                    page, found = members["pageInfo"], found + [user["username"] for user in members["nodes"]]
                assert sorted(found) == sorted(name for name, has in users.items() if role["name"] in has)
                assert members["totalCount"] == len(found)
                asked += len(found)
    assert asked > 100


async def test_routes_tell_the_same(imported: Imported) -> None:
    for id in TEN[:3]:
        own = OF_STREAM[id]
        history = (await imported.client.get(f"/events/user/{id}/history")).json()["data"]["history"]
        assert [(event["id"], event["data"]) for event in history["nodes"]] == [(event["id"], event["data"]) for event in own]
        for path, version in (
            ("replay", len(own)),
            ("replay/version/1", 1),
            (f"replay/timestamp?timestamp={own[-1]['time']}", len(own)),
        ):
            replay = (await imported.client.get(f"/events/user/{id}/{path}")).json()["data"]["replay"]
            assert (replay["version"], replay["state"]["roleIds"]) == (version, as_of(id, version)["roleIds"])
            assert replay["differences"] == []
    stats = (await imported.client.get("/events/stats")).json()["data"]
    assert {each["type"]: each["count"] for each in stats["byType"]} == Counter(event["type"] for event in FILE)
    recent = (await imported.client.get("/events/recent?eventType=UserDeleted&limit=5")).json()["data"]["nodes"]
    assert [event["id"] for event in recent] == [event["id"] for event in FILE if event["type"] == "UserDeleted"][:-6:-1]


async def test_commands_tell_the_same(imported: Imported) -> None:
    id, own = LONGEST[-1], OF_STREAM[LONGEST[-1]]
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = others | {"HINDSIGHT_DATABASE_URL": imported.service.url}

    async def told(*args: str) -> Any:
        result = await asyncio.to_thread(in_a_process, environment, *args, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    middle = own[len(own) // 2]
    user = await told("user", id, "--at", f"@{middle['position']}")
    assert {field: user[field] for field in ("email", "roleIds")} == {
        field: as_of(id, int(middle["sequence"]))[field] for field in ("email", "roleIds")
    }
    assert [(each["position"], each["type"]) for each in await told("history", id)] == [
        (event["position"], event["type"]) for event in own
    ]
    steps = [(each["field"], each["before"], each["after"]) for each in await told("diff", id, "--steps")]
    assert steps == [(field, before, after) for _, field, before, after in by_hand(own)]
    blamed = {each["field"]: each["version"] for each in await told("blame", id)}
    last = {field: event_id for event_id, field, _, _ in by_hand(own)}
    assert {field: own[blamed[field] - 1]["id"] for field in last} == last
    events = await told("events", "--actor", SOME["actor"], "--limit", "100", "--oldest-first")
    assert [each["position"] for each in events] == [event["position"] for event in FILE if by_actor(event)][:100]
    counted = await told("stats", "--from", "2020-01-01", "--to", "2020-12-31")
    of_2020 = Counter(event["type"] for event in FILE if event["time"].startswith("2020"))
    assert {each["type"]: each["events"] for each in counted} == of_2020


async def test_users_put_back_are_what_they_were(imported: Imported) -> None:
    """The last of all, for it adds to the log."""
    done = 0
    for id in LONGEST[:-5]:
        version = len(OF_STREAM[id]) * 3 // 4
        before = shown((await ask(imported.client, AT, {"id": id, "at": {"version": len(OF_STREAM[id])}}))["user"])
        changed = (await ask(imported.client, REVERT, {"id": id, "at": {"version": version}}))["changed"]
        after = await imported.service.store.load(UUID(id))
        assert after
        if changed["problems"]:  # a role that they had is retired by now, or a name is taken
            assert after.version == before["version"], changed["problems"]
            continue
        done += 1
        then = as_of(id, version)
        assert (after.state.email, [str(role) for role in after.state.role_ids]) == (then["email"], then["roleIds"])
        assert (after.state.deleted_at is None) is (then["status"] == "ACTIVE")
        assert after.version == before["version"] + len(changed["events"])
        again = shown((await ask(imported.client, AT, {"id": id, "at": {"version": before["version"]}}))["user"])
        assert again == before, "nothing is rewritten"
    assert 0 < done < len(LONGEST) - 5, "of either kind there are some"


async def test_the_deleted_come_back_as_before(imported: Imported) -> None:
    deleted = [id for id in USER_IDS if OF_STREAM[id][-1]["type"] == "UserDeleted" and id not in LONGEST]
    done = 0
    for id in CHANCE.sample(deleted, 20):
        changed = (await ask(imported.client, RESTORE, {"id": id}))["changed"]
        if changed["problems"]:
            assert changed["problems"][0]["code"] == "ALREADY_TAKEN"
            continue
        done += 1
        before, own = as_of(id, len(OF_STREAM[id]) - 1), await imported.service.store.load(UUID(id))
        assert own
        assert [event["type"] for event in changed["events"]] == ["UserRestored"]
        assert (own.state.username, [str(role) for role in own.state.role_ids]) == (before["username"], before["roleIds"])
        assert own.state.deleted_at is None
    assert done > 5
