"""What is too much is refused before it is carried out, with a code that says so; who asks for less is answered meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, get_introspection_query, parse, validate

from app.api.limits import too_much
from app.api.price import price
from app.api.schema import build
from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

ID = "0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b"
JSON = {"content-type": "application/json", "accept": "application/graphql-response+json"}

CHAIN = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(30))
BOMB = f"{{ ...F0 }} {CHAIN} fragment F30 on Query {{ head }}"
"""Each fragment spreads the next one twice: followed naively, thirty of them are a thousand million fields."""
ALIASES = "{ " + " ".join(f"a{n}: head" for n in range(300)) + " }"

SCHEMA_TWICE = "{ __schema { types { fields { ...F } a: fields { ...F } } } } fragment F on __Field { type { name } }"
"""With more of these, and each once more within itself, some hundred bytes would be answered with millions of objects."""
FIELDS = "fields { type { ofType { ofType { name } } } }"
TYPES_OF_TYPES = f"{{ __schema {{ types {{ fields {{ type {{ {FIELDS} ofType {{ {FIELDS} ofType {{ {FIELDS} }} }} }} }} }} }} }}"
WIDE = "{ users(first: 100) { nodes { history(first: 100) { nodes { " + " ".join(f"a{n}: id" for n in range(13)) + " } } } } }"
"""Of cheap objects and many fields under other names."""


def deep(fields: int) -> str:
    """A document that is so many fields deep."""
    within = fields - 2
    return f'{{ role(id: "{ID}") ' + "{ at(moment: { version: 1 }) " * within + "{ id }" + " }" * within + " }"


@pytest.mark.parametrize(
    ("document", "code", "says"),
    [
        (BOMB, "COST_LIMIT_EXCEEDED", "may cost 10000"),
        (ALIASES, "GRAPHQL_VALIDATION_FAILED", "300 aliases, and may have 15"),
        ("{ " + " ".join(f"a{n}: head" for n in range(1000)) + " }", "GRAPHQL_PARSE_FAILED", "1000 tokens"),
        ("{ head " + "@skip(if: false) " * 51 + "}", "GRAPHQL_VALIDATION_FAILED", "51 directives, and may have 50"),
        (deep(13), "GRAPHQL_VALIDATION_FAILED", "13 fields deep, and may be 12"),
        ("{ " + "head " * 16 + "}", "GRAPHQL_VALIDATION_FAILED", "head is selected 16 times in one place, and may be 15 times"),
        (SCHEMA_TWICE, "GRAPHQL_VALIDATION_FAILED", "__Type.fields may not have another name"),
        (TYPES_OF_TYPES, "COST_LIMIT_EXCEEDED", "may cost 10000"),
        (WIDE, "COST_LIMIT_EXCEEDED", "costs 140201"),
        ("{ users(first: 100) { nodes { history(first: 100) { nodes { id } } } } }", "COST_LIMIT_EXCEEDED", "costs 10201"),
    ],
    ids=["bomb", "aliases", "tokens", "directives", "depth", "repeated", "schema twice", "schema deep", "wide", "cost"],
)
async def test_a_document_beyond_a_limit_is_refused(api: Api, document: str, code: str, says: str) -> None:
    answer = await api.http.post("/graphql", json={"query": document}, headers=JSON)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (400, code)
    assert says in error["message"]
    assert "data" not in answer.json()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"[" * 100_000 + b"]" * 100_000, 400, "not JSON"),
        (b'{"query": "{ head }", "variables": {"x": ' + b"[" * 63 + b"]" * 63 + b"}}", 400, "nested deeper than 64"),
        (b'{"query": "' + b"x" * 10_000_000 + b'"}', 413, "may have 1048576 bytes"),
        (b'{"query": "{ head }", "variables": {' + b",".join(b'"v%d": 1' % n for n in range(10_000)) + b"}}", 400, "may be 100"),
    ],
    ids=["brackets", "nesting", "size", "variables"],
)
async def test_a_body_beyond_a_limit_is_refused(api: Api, body: bytes, status: int, says: str) -> None:
    answer = await api.http.post("/graphql", content=body, headers=JSON)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (status, "BAD_REQUEST")
    assert says in error["message"]


async def test_what_is_just_within_the_limits_is_answered(api: Api) -> None:
    await api.ask(deep(12))
    await api.ask("{ " + " ".join(f"a{n}: head" for n in range(15)) + " }")
    nested = b'{"query": "{ head }", "variables": {"x": ' + b"[" * 62 + b"]" * 62 + b"}}"
    assert "data" in (await api.http.post("/graphql", content=nested, headers=JSON)).json()
    introspection = get_introspection_query(input_value_deprecation=True)
    assert cost(introspection) < 5_000, "tools must be able to ask for a schema that has grown"
    assert (await api.ask(introspection))["__schema"]["queryType"]["name"] == "Query"


async def test_others_are_answered_while_a_thousand_such_requests_arrive(still: Api) -> None:
    tenant = await still.tenant()
    user = await still.user(tenant)
    hostile = [BOMB, ALIASES, deep(13), "{ head"]
    refused = [asyncio.create_task(still.answer(hostile[n % 4])) for n in range(1000)]
    assert await still.ask("query ($id: ID!) { user(id: $id) { username } }", id=user) == {"user": {"username": "ann"}}
    assert all("data" not in answer for answer in await asyncio.gather(*refused))


def cost(document: str, **variables: Any) -> int:
    """What the document costs."""
    node = parse(document)
    assert not too_much(node)
    assert not validate(build(), node)
    fragments = {each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)}
    (operation,) = (each for each in node.definitions if isinstance(each, OperationDefinitionNode))
    return price(build(), operation, fragments).of(variables)


@pytest.mark.parametrize(
    ("document", "variables", "costs"),
    [
        ("{ __typename }", {}, 0),
        ("{ head }", {}, 1),
        (f'{{ user(id: "{ID}") {{ id username }} }}', {}, 1),
        (f'{{ user(id: "{ID}") {{ tenant {{ id }} roles {{ id tenant {{ id }} }} }} }}', {}, 2 + 10 * 2),
        ("{ users { nodes { id } } }", {}, 1 + 20),
        ("{ users(first: 50) { nodes { tenant { id } } edges { node { id } } pageInfo { hasNextPage } } }", {}, 2 + 50 * 4),
        ("{ users(last: 5) { totalCount nodes { id } } }", {}, 1 + 1 + 5),
        ("{ users(first: -5) { nodes { id } } roles(first: 1000) { nodes { id } } }", {}, 2 + 1 + 100),
        ("query ($n: Int) { users(first: $n) { nodes { id } } }", {"n": 7}, 1 + 7),
        ("query ($n: Int) { users(first: $n, last: 9) { nodes { id } } }", {"n": None}, 1 + 20),
        ("query ($n: Int) { users(first: $n) { ...F } } fragment F on UserConnection { nodes { id } }", {"n": 100}, 1 + 100),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["a"] * 30}, 30),
        (f'{{ nodes(ids: ["{ID}", "{ID}"]) {{ ... on User {{ roles {{ id }} }} }} }}', {}, 2 * 11),
        ("{ __schema { types { name } } }", {}, 1 + len(build().type_map)),
        ('{ __type(name: "User") { name ofType { name } } }', {}, 1),
        ("{ users(first: 3) { nodes { id a: id b: id } } }", {}, 1 + 3 * 3),
        ("{ a: users(first: 2) { nodes { id ...R } } } fragment R on User { roles { id } }", {}, 1 + 2 * 11),
    ],
)
def test_an_operation_costs_its_objects(document: str, variables: dict[str, Any], costs: int) -> None:
    assert cost(document, **variables) == costs


async def test_an_answer_tells_what_it_cost(api: Api) -> None:
    document = "query ($n: Int!) { users(first: $n) { nodes { id } } }"
    assert (await api.answer(document, n=7))["extensions"]["cost"] == {"budget": 10_000, "price": 8}
    assert (await api.answer("{ users(first: 100) { nodes { history(first: 100) { nodes { id } } } } }"))["extensions"] == {
        "cost": {"budget": 10_000, "price": 10_201}
    }


async def test_the_schema_can_be_kept_from_those_without_permission(url: str) -> None:
    async with serving(url, introspection=False) as api:
        curious = {"authorization": api.bearer("curious", {"user.read"}, all_tenants=True)}
        reader = {"authorization": api.bearer("reader", {"schema.read"}, all_tenants=True)}
        for document in ("{ __schema { types { name } } }", '{ ... { __type(name: "User") { name } } }'):
            (error,) = (await api.answer(document, curious))["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert "data" in await api.answer(document, reader)
        for document in ("{ usrs { nodes { id } } }", "{ users(frst: 1) { nodes { id } } }", "{ users { nodes { emai } } }"):
            assert "Did you mean" in str(await api.answer(document, reader))
            assert "Did you mean" not in str(await api.answer(document, curious))
