"""What has no answer in time: every operation that takes a moment or a span says the same of it, as the README has it."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

EARLIER, LATER = "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"
BEFORE_THE_LOG = {"version": {"version": 0}, "position": {"position": 0}, "time": {"timestamp": EARLIER}}


class Cast(NamedTuple):
    """A user at version 2, whose role was given with it."""

    user: str
    role: str
    tenant: str


@pytest.fixture
async def cast(api: Api) -> Cast:
    tenant = await api.tenant()
    role = await api.role(tenant, "reader", "read")
    user = await api.user(tenant, "ann")
    await api.done("assignRoles", id=user, roleIds=[role])
    return Cast(user, role, tenant)


AT_A_MOMENT: dict[str, tuple[str, Any]] = {
    "user(id: $user, at: $m) { id }": ("at", None),
    "role(id: $role, at: $m) { id }": ("at", None),
    "tenant(id: $tenant, at: $m) { id }": ("at", None),
    "node(id: $user, at: $m) { id }": ("at", None),
    "user(id: $user) { at(moment: $m) { id } }": ("moment", {"at": None}),
    "role(id: $role) { at(moment: $m) { id } }": ("moment", {"at": None}),
    "tenant(id: $tenant) { at(moment: $m) { id } }": ("moment", {"at": None}),
    "user(id: $user) { changes(to: $m) { field } }": ("to", {"changes": []}),
    "user(id: $user) { replay(at: $m) { state version position differences { field } } }": (
        "at",
        {"replay": {"state": None, "version": 0, "position": None, "differences": []}},
    ),
    'accessProof(userId: $user, at: $m, permission: "read") { granted reason user { id } roles { held } }': (
        "at",
        {"granted": False, "reason": "The user did not exist at that moment.", "user": None, "roles": []},
    ),
    "accessProof(userId: $user, at: $m, roleId: $role) { granted user { id } }": ("at", {"granted": False, "user": None}),
}
"""Questions about one thing, each with the argument that names the moment, and the answer for one before the thing."""

AS_OF_A_MOMENT: dict[str, Any] = {
    "users(asOf: $m) { totalCount nodes { id } }": {"totalCount": 0, "nodes": []},
    "roles(asOf: $m) { totalCount nodes { id } }": {"totalCount": 0, "nodes": []},
    "tenants(asOf: $m) { totalCount nodes { id } }": {"totalCount": 0, "nodes": []},
    'userByUsername(username: "ann", tenantId: $tenant, asOf: $m) { id }': None,
    "role(id: $role) { members(asOf: $m) { totalCount nodes { id } } }": {"members": {"totalCount": 0, "nodes": []}},
    "compare(from: $m, to: $m) { totalCount nodes { userId } }": {"totalCount": 0, "nodes": []},
}
"""Questions about the whole directory, each with the answer for a moment before everything."""


def asked(field: str, type: str) -> str:
    known = {"$user": "ID!", "$role": "ID!", "$tenant": "ID!"}
    declared = ", ".join(f"{name}: {of}" for name, of in known.items() if name in field)
    return f"query ($m: {type}!{', ' if declared else ''}{declared}) {{ asked: {field} }}"


def given(cast: Cast, field: str) -> dict[str, str]:
    return {name: value for name, value in cast._asdict().items() if f"${name}" in field}


@pytest.mark.parametrize("moment", BEFORE_THE_LOG)
@pytest.mark.parametrize("field", AT_A_MOMENT)
async def test_before_its_first_event_a_thing_did_not_exist(api: Api, cast: Cast, field: str, moment: str) -> None:
    _, nothing = AT_A_MOMENT[field]
    answer = await api.ask(asked(field, "Moment"), m=BEFORE_THE_LOG[moment], **given(cast, field))
    assert answer["asked"] == nothing


@pytest.mark.parametrize("moment", ["position", "time"])
@pytest.mark.parametrize("field", AS_OF_A_MOMENT)
async def test_before_everything_the_directory_was_empty(api: Api, cast: Cast, field: str, moment: str) -> None:
    answer = await api.ask(asked(field, "AsOf"), m=BEFORE_THE_LOG[moment], **given(cast, field))
    assert answer["asked"] == AS_OF_A_MOMENT[field]


@pytest.mark.parametrize("field", AT_A_MOMENT)
async def test_a_version_past_the_last_is_refused(api: Api, cast: Cast, field: str) -> None:
    error = await api.refused(asked(field, "Moment"), m={"version": 9}, **given(cast, field))
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", f"{AT_A_MOMENT[field][0]}.version")
    assert "9 is past the end of stream" in error["rule"]
    assert "whose last version is" in error["rule"]


@pytest.mark.parametrize("field", [*AT_A_MOMENT, *AS_OF_A_MOMENT])
async def test_a_position_past_the_end_is_refused(api: Api, cast: Cast, field: str) -> None:
    head = (await api.ask("{ head }"))["head"]
    type, argument = ("Moment", AT_A_MOMENT[field][0]) if field in AT_A_MOMENT else ("AsOf", "asOf")
    error = await api.refused(asked(field, type), m={"position": head + 1000}, **given(cast, field))
    named = "from" if field.startswith("compare") else argument
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", f"{named}.position")
    assert f"{head + 1000} is past the end of the log, whose last position is " in error["rule"]


@pytest.mark.parametrize("field", [field for field in AT_A_MOMENT if field.startswith("user(id: $user, at")])
async def test_a_time_to_come_is_the_present(api: Api, cast: Cast, field: str) -> None:
    answer = await api.ask(asked(field, "Moment"), m={"timestamp": "2999-01-01T00:00:00Z"}, **given(cast, field))
    assert answer["asked"] == {"id": cast.user}
    listed = await api.ask(
        'query ($t: ID!) { users(filter: { tenantId: $t }, asOf: { timestamp: "2999-01-01T00:00:00Z" }) { nodes { id } } }',
        t=cast.tenant,
    )
    assert listed["users"]["nodes"] == [{"id": cast.user}]


SPANS = [
    ("events(filter: { occurredAfter: $later, occurredBefore: $earlier }) { nodes { id } }", "filter.occurredAfter"),
    ("events(filter: { fromPosition: 3, toPosition: 2 }) { totalCount }", "filter.fromPosition"),
    ("user(id: $user) { history(filter: { occurredAfter: $later, occurredBefore: $earlier }) { totalCount } }", None),
    ("user(id: $user) { history(filter: { fromPosition: 3, toPosition: 2 }) { totalCount } }", "filter.fromPosition"),
    ('eventStats(filter: { fromDay: "2020-01-02", toDay: "2020-01-01" }) { total }', "filter.fromDay"),
    ("logins(filter: { occurredAfter: $later, occurredBefore: $earlier }) { nodes { id } }", "filter.occurredAfter"),
    ("user(id: $user) { logins(filter: { occurredAfter: $later, occurredBefore: $earlier }) { totalCount } }", None),
    ("users(filter: { createdAfter: $later, createdBefore: $earlier }) { nodes { id } }", "filter.createdAfter"),
    ("users(filter: { or: [{ createdAfter: $later, createdBefore: $earlier }] }) { nodes { id } }", "filter.or[0].createdAfter"),
    ("compare(from: { timestamp: $later }, to: { timestamp: $earlier }) { nodes { userId } }", "from"),
    ("compare(from: { position: 2 }, to: { position: 1 }) { nodes { userId } }", "from"),
    ("user(id: $user) { changes(from: { version: 2 }, to: { version: 1 }) { field } }", "from"),
    ("user(id: $user, at: { version: 1 }) { changes(from: { version: 2 }) { field } }", "from"),
]


@pytest.mark.parametrize(("field", "argument"), SPANS)
async def test_a_span_that_ends_before_it_starts_is_refused(api: Api, cast: Cast, field: str, argument: str | None) -> None:
    declared = [f"${name}: {of}" for name, of in (("user", "ID!"), ("later", "DateTime!"), ("earlier", "DateTime!"))]
    document = f"query ({', '.join(each for each in declared if each.split(':')[0] in field)}) {{ {field} }}"
    document = document.replace("query ()", "query")
    values = {"user": cast.user, "earlier": EARLIER, "later": LATER}
    error = await api.refused(document, **{name: value for name, value in values.items() if f"${name}" in field})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", argument or "filter.occurredAfter")
    assert error["rule"].startswith("is after `")


async def test_a_span_that_ends_where_it_starts_holds_nothing(api: Api, cast: Cast) -> None:
    answer = await api.ask(
        """query ($t: ID!, $at: DateTime!, $user: ID!) {
            events(filter: { tenantId: $t, occurredAfter: $at, occurredBefore: $at }) { totalCount }
            compare(from: { timestamp: $at }, to: { timestamp: $at }) { totalCount }
            user(id: $user) { changes(from: { version: 1 }, to: { version: 1 }) { field } }
        }""",
        t=cast.tenant,
        at=LATER,
        user=cast.user,
    )
    assert answer == {"events": {"totalCount": 0}, "compare": {"totalCount": 0}, "user": {"changes": []}}


async def test_a_span_past_the_end_holds_nothing_yet(api: Api, cast: Cast) -> None:
    head = (await api.ask("{ head }"))["head"]
    answer = await api.ask(
        """query ($from: Position!) {
            events(filter: { fromPosition: $from }) { nodes { id } }
            eventStats(filter: { fromDay: "2999-01-01" }) { total byType { type } byDay { day } }
        }""",
        **{"from": head + 1_000_000},
    )
    assert answer == {"events": {"nodes": []}, "eventStats": {"total": 0, "byType": [], "byDay": []}}


async def test_of_a_position_and_a_time_neither_is_before_the_other(api: Api, cast: Cast) -> None:
    document = """query ($t: ID!, $from: AsOf!, $to: AsOf!) {
        compare(filter: { tenantId: $t }, from: $from, to: $to) { nodes { userId kind } }
    }"""
    now, then = {"position": (await api.ask("{ head }"))["head"]}, {"timestamp": EARLIER}
    for since, until, kind in ((then, now, "APPEARED"), (now, then, "DISAPPEARED")):
        answer = await api.ask(document, t=cast.tenant, **{"from": since, "to": until})
        assert answer["compare"]["nodes"] == [{"userId": cast.user, "kind": kind}]


async def test_who_never_was_has_no_past(api: Api) -> None:
    answer = await api.ask(
        """query ($id: ID!, $at: Moment!) {
            now: user(id: $id) { history { totalCount } blame { field } replay { version } }
            then: user(id: $id, at: $at) { id }
            accessProof(userId: $id, at: $at, permission: "read") { granted reason }
            compare(filter: { ids: [$id] }, from: { position: 0 }, to: { position: 1 }) { totalCount }
            users(filter: { ids: [$id] }, asOf: { position: 1 }) { totalCount }
            events(filter: { streamId: $id }) { totalCount }
            eventStats(filter: { tenantId: $id }) { total byTenant { count } }
            role(id: $id) { members(asOf: { position: 1 }) { totalCount } }
        }""",
        id=str(uuid4()),
        at={"version": 3},
    )
    assert answer == {
        "now": None,
        "then": None,
        "accessProof": {"granted": False, "reason": "The user did not exist at that moment."},
        "compare": {"totalCount": 0},
        "users": {"totalCount": 0},
        "events": {"totalCount": 0},
        "eventStats": {"total": 0, "byTenant": []},
        "role": None,
    }


async def test_changes_of_who_never_was_find_nobody(api: Api, cast: Cast) -> None:
    for id in (str(uuid4()), cast.role):
        for mutation, more in (("revertUser", {"at": {"version": 1}}), ("restoreUser", {})):
            problem = await api.problem(mutation, id=id, **more)
            assert (problem["__typename"], problem["code"], problem["path"]) == ("NotFound", "NOT_FOUND", ["input", "id"]), (
                mutation
            )
            assert problem["message"] == f"there is no user {id}"


async def test_nobody_is_put_back_to_a_moment_that_is_none(api: Api, cast: Cast) -> None:
    head = (await api.ask("{ head }"))["head"]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"version": 0}, "the user did not exist at that moment"),
        ({"position": 1}, "the user did not exist at that moment"),
        ({"timestamp": EARLIER}, "the user did not exist at that moment"),
        ({"version": 3}, f"3 is past the end of stream {cast.user}, whose last version is 2"),
        ({"position": head + 1000}, f"{head + 1000} is past the end of the log"),
    ]
    for moment, rule in refused:
        problem = await api.problem("revertUser", id=cast.user, at=moment)
        assert (problem["__typename"], problem["code"], problem["path"]) == ("Invalid", "INVALID", ["input", "at"]), moment
        assert rule in problem["message"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/events/user/{never}/history", 404, "there is no user"),
        ("/events/user/{never}/replay", 404, "there is no user"),
        ("/events/user/{never}/replay/version/3", 404, "there is no user"),
        ("/events/user/{never}/replay/timestamp?timestamp=2020-01-01T00:00:00Z", 404, "there is no user"),
        ("/events/user/{user}/replay/version/3", 400, "at.version: 3 is past the end"),
    ],
)
async def test_routes_say_the_same(api: Api, cast: Cast, path: str, status: int, message: str) -> None:
    response = await api.http.get(path.format(never=uuid4(), user=cast.user))
    assert (response.status_code, response.json()["data"]) == (status, None)
    assert message in response.json()["message"]
    for before in ("version/0", "timestamp?timestamp=2020-01-01T00:00:00Z"):
        replay = (await api.http.get(f"/events/user/{cast.user}/replay/{before}")).json()["data"]["replay"]
        assert (replay["state"], replay["version"]) == (None, 0)
