"""Every operation of the schema, each as a document with its least arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLNamedType,
    Undefined,
    get_named_type,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)

from app.api.schema import build

SCHEMA = build()
DEEPEST = 3

SCALARS: Mapping[str, Any] = {
    "String": "something",
    "Int": 1,
    "Boolean": True,
    "Position": 1,
    "DateTime": "2026-01-01T00:00:00Z",
    "Date": "2026-01-01",
}
MOMENTS: Mapping[str, Any] = {"Moment": {"position": 1}, "AsOf": {"position": 1}}
OPTIONAL = {"defineRole": {"tenantId"}, "accessProof": {"permission"}}
"""What an operation does not require, and must have one of."""


def roots() -> Iterator[tuple[str, str, GraphQLField]]:
    """Kind, name and definition of every operation that is answered at once."""
    for kind, type in (("query", SCHEMA.query_type), ("mutation", SCHEMA.mutation_type)):
        assert type
        for name, field in type.fields.items():
            yield kind, name, field


def document(kind: str, name: str, field: GraphQLField) -> str:
    """The operation with variables for its arguments."""
    given = {each: argument for each, argument in field.args.items() if _is_needed(name, each, argument)}
    variables = ", ".join(f"${each}: {argument.type}" for each, argument in given.items())
    arguments = ", ".join(f"{each}: ${each}" for each in given)
    head = f"({variables})" if variables else ""
    return f"{kind} {head} {{ {name}{f'({arguments})' if arguments else ''} {_selection(get_named_type(field.type), 1)} }}"


def arguments(name: str, field: GraphQLField, ids: Mapping[str, str]) -> dict[str, Any]:
    """Values for the variables; `ids` are those of a user, a role, a tenant and an event, by these words."""
    return {
        each: _value(argument.type, ids, each, name) for each, argument in field.args.items() if _is_needed(name, each, argument)
    }


def _is_needed(operation: str, name: str, argument: GraphQLArgument | GraphQLInputField) -> bool:
    required = is_non_null_type(argument.type) and argument.default_value is Undefined
    return required or name in OPTIONAL.get(operation, ())


def _value(type: Any, ids: Mapping[str, str], name: str, operation: str) -> Any:
    if is_non_null_type(type):
        return _value(type.of_type, ids, name, operation)
    if is_list_type(type):
        return [_value(type.of_type, ids, name, operation)]
    named = get_named_type(type)
    if named.name == "ID":
        return ids[_subject(name, operation)]
    if named.name in MOMENTS:
        return MOMENTS[named.name]
    if is_enum_type(named):
        return next(iter(named.values))
    if is_input_object_type(named):
        fields = ((each, field) for each, field in named.fields.items() if _is_needed(operation, each, field))
        return {each: _value(field.type, ids, each, operation) for each, field in fields}
    return "ann@example.com" if name == "email" else SCALARS[named.name]


def _subject(argument: str, operation: str) -> str:
    """What the id is one of."""
    for word in ("tenant", "role", "user", "event"):
        if argument.lower().startswith(word) or (argument in ("id", "ids") and word in operation.lower()):
            return word
    return "user"


def _selection(type: GraphQLNamedType, depth: int) -> str:
    if is_leaf_type(type):
        return ""
    assert is_object_type(type) or is_interface_type(type), f"{type} has fields"
    parts = ["__typename"]
    for name, field in type.fields.items():
        inner = get_named_type(field.type)
        if any(is_non_null_type(argument.type) for argument in field.args.values()) or name in ("milliseconds", "requestId"):
            continue
        if is_leaf_type(inner) or (
            depth < DEEPEST and name in ("nodes", "edges", "node", "problems", "events", type.name.lower())
        ):
            parts.append(f"{name} {_selection(inner, depth + 1)}")
    return "{ " + " ".join(parts) + " }"
