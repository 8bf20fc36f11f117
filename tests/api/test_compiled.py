"""A compiled operation answers, and fails, exactly as graphql-core does, however often and with whatever variables."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import Any

import pytest
from graphql import Executor, GraphQLObjectType, GraphQLSchema, OperationDefinitionNode, build_schema, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.compiled import Compiled, compiled
from app.api.lean import AWAITED, LEAF, Leaf
from app.api.schema import build
from app.bench import query

SCHEMA = build_schema("""
    input At { version: Int! = 1  tag: String }
    enum Size { SMALL LARGE }
    interface Named { name: String! }
    type Query {
        thing(id: ID!, factor: Int! = 2, size: Size, tags: [String!] = ["x"], at: At): Thing
        sure(id: ID!): Thing!
        named(id: ID!): Named
        plain: Thing
    }
    type Mutation { change(id: ID!, at: At): Thing }
    type Thing implements Named { name: String!  other(id: ID): Thing  sure(id: ID! = "a"): Thing!  all(ids: [ID!]!): [Thing!] }
""")


async def thing(_source: object, _info: object, **arguments: Any) -> dict[str, Any] | None:
    match arguments.get("id"):
        case "bad":
            raise ValueError("bad")
        case "none":
            return None
        case "unnamed":
            return {"__typename": "Thing", "name": None}
        case _:
            return {"__typename": "Thing", "name": str(sorted(arguments.items(), key=str))}


async def things(_source: object, _info: object, ids: list[str]) -> list[Any]:
    return [await thing(None, None, id=id) for id in ids]


def methods(schema: GraphQLSchema) -> None:
    for type in (schema.query_type, schema.mutation_type, schema.type_map["Thing"]):
        assert isinstance(type, GraphQLObjectType)
        for name, field in type.fields.items():
            if name == "name":
                field.extensions[LEAF] = Leaf(lambda source: source["name"], str, nullable=False)
            elif name != "plain":
                field.resolve = things if name == "all" else thing
                field.extensions[AWAITED] = True


methods(SCHEMA)

MISSING = object()
IDS = st.sampled_from(["a", "none", "bad", "unnamed", "", 7])
WRONG = st.sampled_from([MISSING, None, True, "x", {}, []])
VARIABLES = st.fixed_dictionaries(
    {
        "id": IDS | WRONG,
        "factor": st.integers(-1, 3) | WRONG,
        "size": st.sampled_from(["SMALL", "HUGE"]) | WRONG,
        "tags": st.lists(st.sampled_from(["x", None]), max_size=2) | WRONG,
        "at": st.fixed_dictionaries({}, optional={"version": st.integers(0, 2) | st.none(), "tag": st.text(max_size=1)}) | WRONG,
    }
).map(lambda given: {name: value for name, value in given.items() if value is not MISSING})

DOCUMENTS = [
    "query ($id: ID!) { thing(id: $id) { name } }",
    "query ($id: ID!) { sure(id: $id) { name } thing(id: $id) { name } }",
    "query ($id: ID!) { a: thing(id: $id) { name } b: thing(id: 7) { name b: name other(id: $id) { name } } plain { name } }",
    "query ($id: ID! = null, $factor: Int) { thing(id: $id, factor: $factor) { __typename name } }",
    'query ($id: ID = "a", $factor: Int = 1) { thing(id: "b", factor: $factor) { other(id: $id) { name } sure { name } } }',
    "query ($id: ID, $size: Size) { thing(id: 1, size: $size) { other(id: $id) { sure { name } } } }",
    "query ($factor: Int!, $size: Size = LARGE) { thing(id: 1, factor: $factor, size: $size) { name } }",
    "query ($tags: [String!], $at: At) { thing(id: 1, size: SMALL, tags: $tags, at: $at) { name } }",
    "query ($tags: [String!]!) { thing(id: 1, size: null, tags: $tags, at: { version: 3 }) { name } }",
    "query ($factor: Int!, $id: String) { thing(id: 1, at: { version: $factor, tag: $id }) { name } __typename }",
    "query ($id: ID!) { thing(id: 1) { all(ids: [$id, 1]) { name ...More } } } fragment More on Thing { other { name } }",
    "query ($id: ID!) { ...Q named(id: $id) { ... on Thing { other(id: $id) { name } } } } fragment Q on Query { __typename }",
    "query ($id: ID!) { thing(id: $id) { name } thing(id: $id) { other { name } sure(id: $id) { name } } }",
    "mutation ($id: ID!, $at: At) { change(id: $id, at: $at) { name } b: change(id: 1) { sure(id: $id) { name } } }",
    "{ __schema { queryType { name } } plain { name } }",
]


def operation(document: str) -> Compiled | None:
    node = parse(document)
    (definition,) = (each for each in node.definitions if isinstance(each, OperationDefinitionNode))
    return compiled(SCHEMA, node, definition)


async def outcome(executor: Any) -> Any:
    """The data and the errors, or what is wrong with the variables."""
    if isinstance(executor, list):
        return [error.formatted for error in executor]
    result = executor.result() if hasattr(executor, "result") else executor.execute_operation()
    data, errors = await result if isawaitable(result) else result
    return data, [error.formatted for error in errors or ()]


COMPILED = [(parse(document), operation(document)) for document in DOCUMENTS]


@pytest.mark.parametrize(("document", "once"), COMPILED, ids=DOCUMENTS)
@settings(max_examples=30)
@given(several=st.lists(VARIABLES, min_size=1, max_size=3))
def test_it_answers_as_graphql_core_does(document: Any, once: Compiled | None, several: list[dict[str, Any]]) -> None:
    async def compare() -> None:
        assert once is not None
        for variables in several:
            built = Executor.build(SCHEMA, document, None, None, variables)
            assert await outcome(once.executor(None, variables)) == await outcome(built)

    asyncio.run(compare())


@pytest.mark.parametrize(
    "document",
    [
        "query ($x: Boolean!) { plain @skip(if: $x) { name } }",
        "query ($x: Boolean!) { plain { ...F } } fragment F on Thing { name @include(if: $x) }",
        "{ ... @include(if: false) { plain { name } } }",
    ],
)
def test_directives_decide_for_every_request_anew(document: str) -> None:
    assert operation(document) is None


def test_the_fields_of_the_service_are_compiled() -> None:
    root = build().query_type
    assert root
    assert root.fields["user"].extensions[AWAITED]
    node = parse(query.USER)
    (definition,) = node.definitions
    assert isinstance(definition, OperationDefinitionNode)
    assert compiled(build(), node, definition) is not None
