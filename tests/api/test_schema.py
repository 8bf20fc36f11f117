"""The schema as its readers see it: committed, described, and derived from the domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema, build_schema

from app.api.schema import sdl
from app.wiring import AGGREGATES

COMMITTED = (Path(__file__).parents[2] / "schema.graphql").read_text()


def test_the_committed_schema_is_the_one_that_is_served() -> None:
    assert sdl().strip() == COMMITTED.strip(), "run `make schema` and look at the difference"


def test_everything_has_a_description() -> None:
    assert [name for name, element in elements(build_schema(COMMITTED)) if not element.description] == []


def elements(schema: GraphQLSchema) -> Iterator[tuple[str, Any]]:
    """Every type, field, argument and enum value that is ours, with its name."""
    for type in schema.type_map.values():
        if type.name.startswith("__") or type.name in ("String", "Int", "Float", "Boolean", "ID"):
            continue
        yield type.name, type
        if isinstance(type, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in type.fields.items():
                yield f"{type.name}.{name}", field
                yield from ((f"{type.name}.{name}({argument})", each) for argument, each in field.args.items())
        elif isinstance(type, GraphQLInputObjectType):
            yield from ((f"{type.name}.{name}", field) for name, field in type.fields.items())
        elif isinstance(type, GraphQLEnumType):
            yield from ((f"{type.name}.{name}", value) for name, value in type.values.items())


def test_every_event_of_the_domain_is_a_type_with_its_fields() -> None:
    schema = build_schema(COMMITTED)
    for event in (event for aggregate in AGGREGATES for event in aggregate.events):
        type = schema.type_map[event.__name__]
        assert isinstance(type, GraphQLObjectType)
        assert {each.name for each in type.interfaces} == {"Event", "Node"}
        assert {field.encode_name for field in msgspec.structs.fields(event)} <= set(type.fields)


def test_every_mutation_takes_one_input_and_answers_with_problems() -> None:
    schema = build_schema(COMMITTED)
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        payload = schema.type_map[f"{name[0].upper()}{name[1:]}Payload"]
        assert isinstance(payload, GraphQLObjectType)
        assert {"events", "position", "problems", "clientMutationId"} <= set(payload.fields), name
        input = schema.type_map[f"{name[0].upper()}{name[1:]}Input"]
        assert isinstance(input, GraphQLInputObjectType)
        assert {"idempotencyKey", "clientMutationId"} <= set(input.fields), name
