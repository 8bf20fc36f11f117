"""What changed, who set it, and the proof: one thing's whole past, told field by field."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

CHANGES = """query ($id: ID!, $at: Moment, $from: Moment, $to: Moment, $net: Boolean) {
    user(id: $id, at: $at) { changes(from: $from, to: $to, net: $net) { field before after event { type version } } }
}"""
BLAME = """query ($id: ID!, $at: Moment) {
    user(id: $id, at: $at) { blame { field value since actor correlationId event { id type version occurredAt } } }
}"""
REPLAY = """query ($id: ID!, $at: Moment, $until: Moment) { user(id: $id, at: $at) {
    replay(at: $until) { state version position milliseconds differences { field shown replayed } }
} }"""


class Ann(NamedTuple):
    """A user who was created, renamed three times, given a role, locked, unlocked and deleted: versions 1 to 8."""

    id: str
    role: str


@pytest.fixture
async def ann(api: Api) -> Ann:
    tenant = await api.tenant()
    role = await api.role(tenant, "reader", "read")
    id = await api.user(tenant, "ann")
    for name in ("Ann A", "Ann B", "Ann A"):
        await api.done("updateUserProfile", id=id, fullName=name)
    await api.done("assignRoles", id=id, roleIds=[role])
    await api.done("lockUser", id=id, reason="lost her phone")
    await api.done("unlockUser", id=id)
    await api.done("deleteUser", id=id)
    return Ann(id, role)


async def changes(api: Api, id: str, **moments: Any) -> list[tuple[str, Any, Any, int]]:
    """Field, before, after and version of each change."""
    found = (await api.ask(CHANGES, id=id, **moments))["user"]["changes"]
    return [(each["field"], each["before"], each["after"], each["event"]["version"]) for each in found]


async def test_every_change_is_told_in_its_order(api: Api, ann: Ann) -> None:
    told = await changes(api, ann.id)
    begun = {field: (before, after) for field, before, after, version in told if version == 1}
    assert set(begun) == {"username", "email", "status", "roleIds", "loginAttempts", "createdAt"}
    assert (begun["username"], begun["status"], begun["roleIds"]) == ((None, "ann"), (None, "ACTIVE"), (None, []))
    later = [each for each in told if each[3] > 1]
    assert later[:7] == [
        ("fullName", None, "Ann A", 2),
        ("fullName", "Ann A", "Ann B", 3),
        ("fullName", "Ann B", "Ann A", 4),
        ("roleIds", [], [ann.role], 5),
        ("status", "ACTIVE", "LOCKED", 6),
        ("lockReason", None, "lost her phone", 6),
        ("status", "LOCKED", "ACTIVE", 7),
    ]
    assert later[7:9] == [("lockReason", "lost her phone", None, 7), ("status", "ACTIVE", "DELETED", 8)]
    assert [each[0] for each in later[9:]] == ["deletedAt"]


async def test_changes_between_two_moments(api: Api, ann: Ann) -> None:
    version = [{"version": number} for number in range(9)]
    assert await changes(api, ann.id, **{"from": version[2], "to": version[4]}) == [
        ("fullName", "Ann A", "Ann B", 3),
        ("fullName", "Ann B", "Ann A", 4),
    ]
    assert await changes(api, ann.id, **{"from": version[2], "to": version[4], "net": True}) == []
    assert await changes(api, ann.id, **{"from": version[1], "to": version[7], "net": True}) == [
        ("fullName", None, "Ann A", 4),
        ("roleIds", [], [ann.role], 5),
    ]
    assert await changes(api, ann.id, at=version[3], **{"from": version[2]}) == [("fullName", "Ann A", "Ann B", 3)]
    assert await changes(api, ann.id, **{"from": version[8]}) == []
    assert await changes(api, ann.id, **{"to": version[0]}) == []


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"from": {"version": 3}, "to": {"version": 2}}, "from: is after `to`: the one is right after version 3"),
        ({"from": {"version": 9}}, "version: 9 is past the end"),
        ({"to": {"version": 9}}, "version: 9 is past the end"),
        ({"from": {"position": 2**50}}, f"from.position: {2**50} is past the end of the log"),
        ({"to": {"timestamp": "2026-01-01T00:00:00"}}, "offset"),
    ],
)
async def test_a_span_that_cannot_be_is_refused(api: Api, ann: Ann, moments: dict[str, Any], message: str) -> None:
    refused = await api.refused(CHANGES, id=ann.id, **moments)
    assert refused["code"] == "BAD_USER_INPUT"
    assert message in refused["message"]


async def test_blame_names_who_set_each_field(api: Api, ann: Ann) -> None:
    async def versions(**at: Any) -> dict[str, tuple[Any, int]]:
        blamed = (await api.ask(BLAME, id=ann.id, **at))["user"]["blame"]
        for each in blamed:
            assert (each["since"], each["actor"]) == (each["event"]["occurredAt"], "operator")
            assert each["correlationId"]
        return {each["field"]: (each["value"], each["event"]["version"]) for each in blamed}

    now = await versions()
    assert now["username"] == ("ann", 1)
    assert now["fullName"] == ("Ann A", 4)
    assert now["roleIds"] == ([ann.role], 5)
    assert now["lockReason"] == (None, 7)
    assert now["status"] == ("DELETED", 8)
    assert now["phone"] == (None, 1), "nobody ever set it: so it is since the user is there"
    then = await versions(at={"version": 3})
    assert (then["fullName"], then["status"]) == (("Ann B", 3), ("ACTIVE", 1))


async def test_roles_and_tenants_tell_it_too(api: Api) -> None:
    tenant = await api.tenant("Before")
    role = await api.role(tenant, "reader", "read")
    await api.done("renameTenant", id=tenant, name="After")
    await api.done("defineRole", id=role, name="reader", permissions=["read", "write"])
    both = "changes(from: {version: 1}) { field before after } blame { field event { version } }"
    told = await api.ask(
        f"query ($tenant: ID!, $role: ID!) {{ tenant(id: $tenant) {{ {both} }} role(id: $role) {{ {both} }} }}",
        tenant=tenant,
        role=role,
    )
    assert told["tenant"]["changes"] == [{"field": "name", "before": "Before", "after": "After"}]
    assert told["role"]["changes"] == [{"field": "permissions", "before": ["read"], "after": ["read", "write"]}]
    assert {"field": "permissions", "event": {"version": 2}} in told["role"]["blame"]
    assert {"field": "name", "event": {"version": 1}} in told["role"]["blame"]


async def test_a_replay_agrees_with_the_read_table(api: Api, ann: Ann) -> None:
    replay = (await api.ask(REPLAY, id=ann.id))["user"]["replay"]
    assert (replay["version"], replay["differences"], replay["state"]["fullName"]) == (8, [], "Ann A")
    assert replay["milliseconds"] > 0
    for at in ({"at": {"version": 3}}, {"until": {"version": 3}}):
        replay = (await api.ask(REPLAY, id=ann.id, **at))["user"]["replay"]
        assert (replay["version"], replay["differences"], replay["state"]["fullName"]) == (3, [], "Ann B")
    replay = (await api.ask(REPLAY, id=ann.id, until={"version": 0}))["user"]["replay"]
    assert replay | {"milliseconds": 0} == {"state": None, "version": 0, "position": None, "milliseconds": 0, "differences": []}


async def test_a_replay_names_what_the_read_table_says_wrongly(still: Api) -> None:
    id = await still.user(await still.tenant(), "ann", fullName="Ann")
    await still.backend.store.database.fetch("UPDATE read.users_g1 SET full_name = 'Bob', login_attempts = 3")
    await still.change("lockUser", id=id, reason="the read table does not know it yet, which is no difference")
    replay = (await still.ask(REPLAY, id=id))["user"]["replay"]
    assert replay["version"] == 2
    assert replay["differences"] == [
        {"field": "fullName", "shown": "Bob", "replayed": "Ann"},
        {"field": "loginAttempts", "shown": 3, "replayed": 0},
    ]


async def test_only_the_fields_asked_for(api: Api, ann: Ann) -> None:
    both = "changes(fields: $fields) { field } blame(fields: $fields) { field }"
    asked = f"query ($id: ID!, $fields: [String!]) {{ user(id: $id) {{ {both} }} }}"
    told = (await api.ask(asked, id=ann.id, fields=["roleIds", "status"]))["user"]
    assert [each["field"] for each in told["blame"]] == ["status", "roleIds"]
    assert [each["field"] for each in told["changes"]] == ["status", "roleIds", "roleIds", "status", "status", "status"]
    refused = await api.refused('query ($id: ID!) { user(id: $id) { blame(fields: ["name"]) { field } } }', id=ann.id)
    assert refused["code"] == "BAD_USER_INPUT"
    assert "there is no field 'name'; there are username, email, fullName" in refused["message"]
