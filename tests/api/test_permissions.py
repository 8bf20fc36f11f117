"""Who may do what: every operation of the schema, asked by everybody who may not and by who may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from graphql import is_object_type

from app.api.fields import DEFINITION, NEEDS, NOTHING, cost_of
from app.api.permissions import needs_of
from app.security.permissions import EVENT_READ, INCLUDED, USER_READ, Needs
from tests.api.conftest import Api
from tests.api.operations import SCHEMA, arguments, document, roots
from tests.api.test_authentication import expired, for_another_audience, signed_elsewhere

pytestmark = pytest.mark.anyio

README = (Path(__file__).parents[2] / "README.md").read_text()
ROOTS = {name: (kind, field) for kind, name, field in roots()}
SOMEBODY = "somebody"
ALL = {permission for _, field in ROOTS.values() for permission in needs_of(field).permissions}


def test_every_field_that_can_be_asked_for_or_reads_the_database_says_what_it_needs() -> None:
    forgotten = []
    for type in SCHEMA.type_map.values():
        if is_object_type(type) and not type.name.startswith("__"):
            is_root = type in (SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type)
            for name, field in type.fields.items():
                declared = field.extensions.get(DEFINITION)
                if (is_root or cost_of(field) != NOTHING) and not (declared and declared.metadata.get(NEEDS)):
                    forgotten.append(f"{type.name}.{name}")
    assert forgotten == []


def fields_with_needs() -> Iterator[tuple[str, Needs]]:
    """What the README lists: every operation, and the fields of things that need more than the thing itself did."""
    for name, (_, field) in ROOTS.items():
        yield name, needs_of(field)
    for type in SCHEMA.type_map.values():
        if is_object_type(type) and type not in (SCHEMA.query_type, SCHEMA.mutation_type):
            yield from (
                (f"{type.name}.{name}", needs_of(field)) for name, field in type.fields.items() if needs_of(field).permissions
            )


def in_words(needs: Needs) -> str:
    if needs.open:
        return "nothing"
    held = " and ".join(f"`{permission}`" for permission in sorted(needs.permissions)) or "a valid token"
    return held + (", for all tenants" if needs.everywhere else "") + ("; nothing about yourself" if needs.own else "")


def test_the_readme_lists_what_everything_needs() -> None:
    table = README.split("| to ask for | takes |\n|---|---|\n")[1].split("\n\n")[0]
    listed = {
        name: row[2] for row in re.finditer(r"^\| (.*) \| (.*) \|$", table, re.M) for name in re.findall(r"`([\w.]+)`", row[1])
    }
    events = {event.name for event in SCHEMA.get_possible_types(SCHEMA.type_map["Event"])}  # type: ignore[arg-type]
    expected: dict[str, str] = {}
    for name, needs in fields_with_needs():
        type, _, field = name.rpartition(".")
        expected[f"Event.{field}" if type in events else name] = in_words(needs)
    assert listed == expected


async def refused(api: Api, name: str, authorization: str) -> dict[str, Any]:
    """The answer to an operation that is refused, which asks nothing of the database."""
    kind, field = ROOTS[name]
    ids = {each: str(uuid4()) for each in ("user", "role", "tenant", "event")}
    api.http.headers["authorization"] = authorization
    answer, statements = await api.counting(document(kind, name, field), **arguments(name, field, ids))
    assert statements == [], name
    return answer


@pytest.mark.parametrize("bearing", ["nothing", "expired", "wrong key", "wrong audience"])
async def test_without_a_valid_token_no_operation_is_carried_out(still: Api, bearing: str, tmp_path: Path) -> None:
    made = {"expired": expired, "wrong key": signed_elsewhere, "wrong audience": for_another_audience}.get(bearing)
    authorization = f"Bearer {await made(still, tmp_path)}" if made else ""
    for name in ROOTS:
        if needs_of(ROOTS[name][1]).open:
            continue
        (error,) = (await refused(still, name, authorization))["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED", name


async def test_without_its_permission_no_operation_is_carried_out(still: Api) -> None:
    for name, (kind, field) in ROOTS.items():
        needs = needs_of(field)
        for missing in needs.permissions:
            held = ALL - {missing} - INCLUDED.get(missing, frozenset())
            answer = await refused(still, name, still.bearer(SOMEBODY, held, all_tenants=True))
            assert_refused(kind, name, answer, missing)


async def test_what_concerns_all_tenants_takes_a_token_for_them(still: Api) -> None:
    for name, (kind, field) in ROOTS.items():
        if needs_of(field).everywhere:
            answer = await refused(still, name, still.bearer(SOMEBODY, {"*"}, tenant_id=uuid4()))
            assert_refused(kind, name, answer, "a token for all of them")


def assert_refused(kind: str, name: str, answer: dict[str, Any], says: str) -> None:
    if kind == "query":
        (error,) = answer["errors"]
        assert (error["extensions"]["code"], "data" in answer) == ("FORBIDDEN", False), name
        assert says in error["message"]
    else:
        (problem,) = answer["data"][name]["problems"]
        assert (problem["__typename"], problem["code"], problem["path"]) == ("NotAllowed", "NOT_ALLOWED", ["input"]), name
        assert says in problem["message"]


async def test_with_exactly_its_permissions_every_operation_is_carried_out(still: Api) -> None:
    tenant = await still.tenant()
    ids = {"tenant": tenant, "role": await still.role(tenant), "user": await still.user(tenant), "event": str(uuid4())}
    for name, (kind, field) in ROOTS.items():
        headers = {"authorization": still.bearer(SOMEBODY, needs_of(field).permissions, all_tenants=True)}
        answer = await still.answer(document(kind, name, field), headers, **arguments(name, field, ids))
        assert "errors" not in answer, (name, answer)
        if kind == "mutation":
            said = [problem["message"] for problem in answer["data"][name]["problems"]]
            assert [message for message in said if message.startswith("this needs")] == [], name


async def test_a_mutation_with_its_permission_is_carried_out(still: Api) -> None:
    tenant = await still.tenant()
    headers = {"authorization": still.bearer(SOMEBODY, {"user.write"}, tenant_id=UUID(tenant))}
    create = """mutation ($tenant: ID!) {
        createUser(input: {tenantId: $tenant, username: "bo", email: "bo@example.com"}) { user { username } problems { code } }
    }"""
    answer = await still.answer(create, headers, tenant=tenant)
    assert answer["data"]["createUser"] == {"user": {"username": "bo"}, "problems": []}


async def test_who_creates_users_gives_them_roles_only_with_the_permission_for_that(api: Api) -> None:
    tenant = await api.tenant()
    role = await api.role(tenant)
    new = {"tenantId": tenant, "username": "bo", "email": "bo@example.com", "roleIds": [role]}
    create = "mutation ($input: CreateUserInput!) { createUser(input: $input) { problems { __typename message path } } }"
    many = "mutation ($input: CreateUsersInput!) { createUsers(input: $input) { problems { __typename message path } } }"
    for mutation, input, path in ((create, new, ["input"]), (many, {"users": [new]}, ["input", "users", "0"])):
        headers = {"authorization": api.bearer(SOMEBODY, {"user.write"}, tenant_id=UUID(tenant))}
        payload = next(iter((await api.answer(mutation, headers, input=input))["data"].values()))
        says = "this needs the permission role.write"
        assert payload["problems"] == [{"__typename": "NotAllowed", "message": says, "path": [*path, "roleIds"]}]


@pytest.mark.parametrize(
    "asked",
    [
        "{ viewer { user { history { totalCount } } } }",
        'mutation { createTenant(input: {name: "x"}) { events { causes { id } } } }',
        "{ __typename ...all } fragment all on Query { users { totalCount } }",
        "query ($no: Boolean = false) { users @include(if: $no) { totalCount } }",
    ],
)
async def test_what_lies_within_needs_its_permission_too(still: Api, asked: str) -> None:
    still.http.headers["authorization"] = still.bearer(SOMEBODY, {"tenant.write"}, all_tenants=True)
    answer, statements = await still.counting(asked)
    assert (answer["errors"][0]["extensions"]["code"], statements) == ("FORBIDDEN", [])


async def test_a_user_always_reads_itself_and_nobody_else(api: Api) -> None:
    tenant = await api.tenant()
    ann, bob = await api.user(tenant, "ann"), await api.user(tenant, "bob")
    headers = {"authorization": api.bearer(ann)}
    for query in ("query ($id: ID!) { user(id: $id) { id roles { name } } }", "query ($id: ID!) { node(id: $id) { id } }"):
        assert (await api.answer(query, headers, id=ann))["data"]
        assert (await api.answer(query, headers, id=ann.upper()))["data"]
        assert (await api.answer(query, headers, id=bob))["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    literal = f'{{ user(id: "{bob}") {{ id }} mine: user(id: "{ann}") {{ id }} }}'
    assert (await api.answer(literal, headers))["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_who_may_not_read_events_finds_none_by_id(api: Api) -> None:
    tenant = await api.tenant()
    payload = await api.done("renameTenant", "events { id }", id=tenant, name="Other")
    (event,) = payload["events"]
    query = "query ($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } }"
    assert await api.ask(query, id=event["id"]) == {"node": event, "nodes": [event]}
    headers = {"authorization": api.bearer(SOMEBODY, {USER_READ}, all_tenants=True)}
    assert (await api.answer(query, headers, id=event["id"]))["data"] == {"node": None, "nodes": [None]}


async def test_the_routes_for_scripts_take_event_read(api: Api) -> None:
    tenant = await api.tenant()
    ann = await api.user(tenant, "ann")
    for path in (f"/events/user/{ann}/history", f"/events/user/{ann}/replay", "/events/stats", "/events/recent"):
        for permission, status in ((EVENT_READ, 200), (USER_READ, 403)):
            headers = {"authorization": api.bearer(SOMEBODY, {permission}, tenant_id=UUID(tenant))}
            assert (await api.http.get(path, headers=headers)).status_code == status, path
    soon = datetime.now(UTC) + timedelta(minutes=1)
    foreign = {"authorization": api.bearer(SOMEBODY, {EVENT_READ}, tenant_id=uuid4(), expires_at=soon)}
    assert (await api.http.get(f"/events/user/{ann}/history", headers=foreign)).status_code == 404
