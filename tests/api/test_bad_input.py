"""Input that breaks a rule: the answer names the argument and the rule."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

ID = "0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b"


@pytest.mark.parametrize(
    ("document", "argument", "rule"),
    [
        ('{ user(id: "ann") { id } }', "id", "UUID"),
        ('{ role(id: "") { id } }', "id", "UUID"),
        ("{ tenant(id: 7) { id } }", "id", "UUID"),
        ('{ event(id: "x") { id } }', "id", "UUID"),
        ('{ node(id: "x") { id } }', "id", "UUID"),
        (f'{{ nodes(ids: ["{ID}", "x"]) {{ id }} }}', "ids[1]", "UUID"),
        ('{ userByUsername(username: "ann", tenantId: "x") { id } }', "tenantId", "UUID"),
        ('{ users(filter: { tenantId: "x" }) { totalCount } }', "filter.tenantId", "UUID"),
        ('{ users(filter: { and: [{ or: [{ roleId: "x" }] }] }) { totalCount } }', "filter.and[0].or[0].roleId", "UUID"),
        ('{ users(filter: { ids: ["x"] }) { totalCount } }', "filter.ids[0]", "UUID"),
        ('{ roles(filter: { ids: ["x"] }) { totalCount } }', "filter.ids[0]", "UUID"),
        ('{ tenants(filter: { ids: ["x"] }) { totalCount } }', "filter.ids[0]", "UUID"),
        ('{ events(filter: { streamId: "x" }) { totalCount } }', "filter.streamId", "UUID"),
        ('{ eventStats(filter: { tenantId: "x" }) { total } }', "filter.tenantId", "UUID"),
        ("{ users(filter: { not: { not: { not: { not: {} } } } }) { totalCount } }", "filter", "not deeper than 3"),
        ("{ users(first: 0) { totalCount } }", "first", "from 1 to 100, not 0"),
        ("{ users(first: 101) { totalCount } }", "first", "from 1 to 100, not 101"),
        ("{ roles(last: 0) { totalCount } }", "last", "from 1 to 100, not 0"),
        ("{ tenants(first: -1) { totalCount } }", "first", "from 1 to 100, not -1"),
        ("{ events(first: 1, last: 1) { totalCount } }", "first", "cannot be combined with last"),
        ('{ users(after: "nonsense") { totalCount } }', "after", "not a cursor"),
        ('{ events(before: "WyJhYmMiXQ") { totalCount } }', "before", "cursor of another"),
        ('{ events(filter: { types: ["UserMoved"] }) { totalCount } }', "filter.types", "there are UserCreated, UserUpdated,"),
        ('{ eventStats(filter: { types: ["UserMoved"] }) { total } }', "filter.types", "there are UserCreated, UserUpdated,"),
        ('{ eventStats(filter: { fromDay: "yesterday" }) { total } }', "filter.fromDay", "2026-03-01"),
        ('{ users(asOf: { timestamp: "2026-03-01T12:00:00" }) { totalCount } }', "asOf.timestamp", "needs an offset"),
        ('{ users(asOf: { timestamp: "2026-03-01" }) { totalCount } }', "asOf.timestamp", "RFC 3339"),
        ('{ users(asOf: { timestamp: "2026-02-30T12:00:00Z" }) { totalCount } }', "asOf.timestamp", "no such time"),
        ("{ users(asOf: { timestamp: 1 }) { totalCount } }", "asOf.timestamp", "RFC 3339"),
        ("{ users(asOf: { position: -1 }) { totalCount } }", "asOf.position", "from 0 to 9007199254740991"),
        ("{ users(asOf: { position: 1.5 }) { totalCount } }", "asOf.position", "a position is an integer"),
        ("{ users(asOf: {}) { totalCount } }", "asOf", "exactly one"),
        (f'{{ user(id: "{ID}", at: {{ version: 1, position: 1 }}) {{ id }} }}', "at", "exactly one"),
        (f'{{ user(id: "{ID}", at: {{ version: -1 }}) {{ id }} }}', "at.version", "-1 is no version"),
        ("{ users(first: many) { totalCount } }", "first", "Int cannot represent"),
    ],
)
async def test_the_argument_and_the_rule_are_named(api: Api, document: str, argument: str, rule: str) -> None:
    error = await api.refused(document)
    assert error["code"] == "BAD_USER_INPUT"
    assert error["argument"] == argument
    assert rule in error["rule"]
    assert error["message"] == f"{argument}: {error['rule']}"
    assert UUID(error["requestId"]).version == 7


@pytest.mark.parametrize(
    ("type", "value", "rule"),
    [
        ("AsOf", {"timestamp": "2026-03-01T12:00:00"}, "at .timestamp: a time needs an offset"),
        ("AsOf", {"position": 2**53}, "at .position: a position is an integer"),
        ("AsOf", {"position": True}, "at .position: a position is an integer"),
        ("AsOf", {"position": 1, "timestamp": "2026-03-01T12:00:00Z"}, "one field"),
        ("AsOf", {"position": None}, "non-null"),
        ("AsOf", "yesterday", "to be an object"),
    ],
)
async def test_a_variable_is_named_with_the_rule_it_breaks(api: Api, type: str, value: Any, rule: str) -> None:
    error = await api.refused(f"query ($when: {type}) {{ users(asOf: $when) {{ totalCount }} }}", when=value)
    assert error["code"] == "BAD_USER_INPUT"
    assert "Variable '$when'" in error["message"]
    assert rule in error["message"]


async def test_a_time_may_have_any_offset_and_any_precision(api: Api) -> None:
    for time in ("2026-03-01T12:00:00z", "2026-03-01t12:00:00.123456789+05:45", "0001-01-01T00:00:00Z"):
        await api.ask("query ($t: DateTime!) { users(asOf: { timestamp: $t }) { totalCount } }", t=time)
    error = await api.refused(
        "query ($t: DateTime!) { users(asOf: { timestamp: $t }) { totalCount } }", t="0001-01-01T00:00:00+01:00"
    )
    assert "no such time" in error["message"]


async def test_a_cursor_of_another_list_filter_or_order_is_refused(api: Api) -> None:
    tenant = await api.tenant()
    for name in ("ann", "bob"):
        await api.user(tenant, name)
    page = "query ($t: ID!) { users(filter: { tenantId: $t }, first: 1) { pageInfo { endCursor } } }"
    cursor = (await api.ask(page, t=tenant))["users"]["pageInfo"]["endCursor"]
    for field in (
        "users(first: 1, after: $c) { nodes { id } }",
        "users(filter: { tenantId: $t }, orderBy: [{ field: USERNAME }], after: $c) { nodes { id } }",
        "users(filter: { tenantId: $t }, asOf: { position: 1 }, after: $c) { nodes { id } }",
        "roles(filter: { tenantId: $t }, after: $c) { nodes { id } }",
        "events(filter: { tenantId: $t }, after: $c) { nodes { id } }",
        "tenant(id: $t) { history(after: $c) { nodes { id } } }",
    ):
        error = await api.refused(f"query ($t: ID!, $c: String) {{ {field} me: tenant(id: $t) {{ id }} }}", t=tenant, c=cursor)
        assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "after"), field
        assert "cursor of another" in error["rule"]


async def test_too_many_ids_are_refused(api: Api) -> None:
    error = await api.refused("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[ID] * 101)
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "ids")


@pytest.mark.parametrize(
    "field",
    [
        "userByUsername(username: $x) { id }",
        "users(filter: { search: $x }) { nodes { id } }",
        "roles(filter: { permission: $x }) { nodes { id } }",
        "tenants(filter: { name: $x }) { nodes { id } }",
        'users(filter: { username: "a\\u0000b" }) { nodes { id } }',
    ],
)
async def test_text_that_the_database_cannot_hold_is_refused(api: Api, field: str) -> None:
    variables = {"x": "a\0b"} if "$x" in field else {}
    error = await api.refused(f"query {'($x: String!)' if variables else ''} {{ {field} }}", **variables)
    assert error["code"] == "BAD_USER_INPUT"
    assert "U+0000" in error["message"]


async def test_text_about_that_character_is_not_refused(api: Api) -> None:
    await api.ask("query ($x: String!) { userByUsername(username: $x) { id } }", x="\\u0000")
