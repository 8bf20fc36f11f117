"""What a change of the schema does to those who use it: graphql-core's comparison of two schemas, and what that passes over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec
from graphql import (
    BreakingChangeType,
    DangerousChangeType,
    GraphQLArgument,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLNamedType,
    GraphQLSchema,
    OperationType,
    find_schema_changes,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_non_null_type,
    is_object_type,
    is_required_argument,
    is_required_input_field,
    is_scalar_type,
)

Element = GraphQLField | GraphQLArgument | GraphQLInputField | GraphQLEnumValue
Named = TypeVar("Named")


class Impact(StrEnum):
    """What a change does: it fails requests that were right, may surprise who sends them, or does neither."""

    BREAKING = "breaking"
    DANGEROUS = "dangerous"
    SAFE = "safe"


class Change(msgspec.Struct, frozen=True):
    """One difference between two schemas; the kind is graphql-core's, or one of ours."""

    impact: Impact
    kind: str
    description: str


def changes(old: GraphQLSchema, new: GraphQLSchema) -> list[Change]:
    """What differs between two schemas, the worst first."""
    found = [*_found_by_graphql_core(old, new), *_passed_over(old, new)]
    return sorted(found, key=lambda change: list(Impact).index(change.impact))


def _found_by_graphql_core(old: GraphQLSchema, new: GraphQLSchema) -> Iterator[Change]:
    for change in find_schema_changes(old, new):
        match change.type:
            case BreakingChangeType():
                impact = Impact.BREAKING
            case DangerousChangeType():
                impact = Impact.DANGEROUS
            case _:
                impact = Impact.SAFE
        yield Change(impact, change.type.name, " ".join(change.description.split()))


def _passed_over(old: GraphQLSchema, new: GraphQLSchema) -> Iterator[Change]:
    for operation in OperationType:
        root, successor = old.get_root_type(operation), new.get_root_type(operation)
        if root and (successor is None or root.name != successor.name):
            yield Change(Impact.BREAKING, "ROOT_TYPE_CHANGED", f"{root.name} is no longer what a {operation.value} begins with.")
    for name, type, later_type in _in_both(old.type_map, new.type_map):
        yield from _type_changes(name, type, later_type)
        if is_interface_type(later_type):
            for added in new.get_possible_types(later_type):
                if added.name not in old.type_map:
                    yield Change(Impact.DANGEROUS, "TYPE_ADDED_TO_INTERFACE", f"{added.name} is a new type of {name}.")
    for name, element, later_element in _in_both(dict(_elements(old)), dict(_elements(new))):
        yield from _element_changes(name, element, later_element)


def _type_changes(name: str, old: GraphQLNamedType, new: GraphQLNamedType) -> Iterator[Change]:
    if is_input_object_type(old) and is_input_object_type(new) and old.is_one_of != new.is_one_of:
        if new.is_one_of:
            yield Change(Impact.BREAKING, "ONE_OF_ADDED", f"{name} takes exactly one of its fields now.")
        else:
            yield Change(Impact.SAFE, "ONE_OF_REMOVED", f"{name} may be given several of its fields now.")
    if is_scalar_type(old) and is_scalar_type(new) and old.specified_by_url != new.specified_by_url:
        yield Change(Impact.DANGEROUS, "SPECIFICATION_CHANGED", f"{name} is specified by {new.specified_by_url} now.")


def _element_changes(name: str, old: Element, new: Element) -> Iterator[Change]:
    # To graphql-core the loss of a default is dangerous at most; but who relied on it must now give a value.
    if isinstance(old, GraphQLArgument | GraphQLInputField) and is_non_null_type(old.type) and _required(new) > _required(old):
        yield Change(Impact.BREAKING, "REQUIRED_DEFAULT_REMOVED", f"{name} has no default any more and must be given.")
    if old.deprecation_reason is None and new.deprecation_reason is not None:
        yield Change(Impact.SAFE, "DEPRECATION_ADDED", f"{name} is deprecated: {new.deprecation_reason}")
    elif old.deprecation_reason is not None and new.deprecation_reason is None:
        yield Change(Impact.SAFE, "DEPRECATION_REMOVED", f"{name} is deprecated no longer.")


def _required(element: Element) -> bool:
    match element:
        case GraphQLArgument():
            return is_required_argument(element)
        case GraphQLInputField():
            return is_required_input_field(element)
        case _:
            return False


def _elements(schema: GraphQLSchema) -> Iterator[tuple[str, Element]]:
    """Everything within types and directives, by the names that graphql-core gives it."""
    for type in schema.type_map.values():
        if is_object_type(type) or is_interface_type(type):
            for field_name, field in type.fields.items():
                yield f"{type.name}.{field_name}", field
                yield from ((f"{type.name}.{field_name}({name}:)", argument) for name, argument in field.args.items())
        elif is_input_object_type(type):
            yield from ((f"{type.name}.{name}", input_field) for name, input_field in type.fields.items())
        elif is_enum_type(type):
            yield from ((f"{type.name}.{name}", value) for name, value in type.values.items())
    for directive in schema.directives:
        yield from ((f"@{directive.name}({name}:)", argument) for name, argument in directive.args.items())


def _in_both(old: Mapping[str, Named], new: Mapping[str, Named]) -> Iterator[tuple[str, Named, Named]]:
    yield from ((name, each, new[name]) for name, each in old.items() if name in new)
