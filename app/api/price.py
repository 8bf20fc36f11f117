"""The price of an operation: 1 for each object that it may be answered with, lists multiplied by the size of their page.

So is the schema's, whose lists are as long as they are on the average. A field without objects is free, but not under another
name, of which an object may have any number.

An operation's price is worked out with its plan, once for each fragment, however often that is spread. Where page sizes are
variables the parts are kept, and added up for each request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any, Literal

import msgspec
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_introspection_type,
    is_list_type,
    is_object_type,
)
from graphql.utilities import type_from_ast

from app.api.fields import cost_of
from app.eventstore.paging import DEFAULT_SIZE, LARGEST_SIZE

UNPAGED = 10
"""Items for which a list counts that has no pages, such as a user's roles."""
ITEMS = frozenset({"nodes", "edges"})
"""The fields of a connection that hold the items of its page."""

Size = float | str
"""Of a page: a number, or the name of the variable that tells it."""


class Term(msgspec.Struct, frozen=True):
    """Something that a selection of fields selects."""

    kind: Literal["flat", "spread", "one", "page", "items", "list"]
    part: int
    """Which part of the price says what is within it; for `flat`, its own price."""
    sizes: Sequence[Size] = (1,)
    """How many items there are within it: the greatest of these."""


class Price(msgspec.Struct, frozen=True):
    """What an operation costs."""

    parts: Sequence[Sequence[Term]]
    """Its selections: inner before outer ones, its own the last."""
    fixed: int | None
    """What it costs whatever the variables; None when they tell."""

    def of(self, variables: Mapping[str, Any]) -> int:
        """The price with these variables, in the form that they have after coercion."""
        return _total(self.parts, variables) if self.fixed is None else self.fixed


def price(schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Price:
    """What an operation of a validated document costs."""
    pricing = _Pricing(schema, fragments)
    pricing.part(operation.selection_set, schema.get_root_type(operation.operation))
    told = any(isinstance(size, str) for part in pricing.parts for term in part for size in term.sizes)
    return Price(pricing.parts, None if told else _total(pricing.parts, {}))


class _Pricing:
    """Takes an operation apart."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self.parts: list[Sequence[Term]] = []
        self._schema = schema
        self._fragments = fragments
        self._of_fragments: dict[str, int] = {}

    def part(self, selections: SelectionSetNode, type: GraphQLNamedType | None) -> int:
        """Which part holds the selection; its own parts are before it."""
        terms = [term for node, on in _flat(self._schema, selections, type) if (term := self._term(node, on))]
        self.parts.append(terms)
        return len(self.parts) - 1

    def _term(self, node: FieldNode | FragmentSpreadNode, type: Any) -> Term | None:
        if isinstance(node, FragmentSpreadNode):
            return Term("spread", self._fragment(node.name.value))
        field = self._schema.get_field(type, node.name.value)
        if field is None or node.selection_set is None:
            return Term("flat", 1) if field and (node.alias or cost_of(field).statements) else None
        inner = self.part(node.selection_set, get_named_type(field.type))
        if node.name.value == "ofType":
            return Term("spread", inner)  # it tells of the same type, or there is none
        if is_introspection_type(type):
            return Term("list", inner, (items_of_schema(self._schema).get(node.name.value, 1),))
        if "first" in field.args:
            return Term("page", inner, _sizes(node, "first", "last") or (DEFAULT_SIZE,))
        if not is_list_type(get_nullable_type(field.type)):
            return Term("one", inner)
        if node.name.value in ITEMS and not field.args:
            return Term("items", inner)
        return Term("list", inner, _sizes(node, "ids") or (UNPAGED,))

    def _fragment(self, name: str) -> int:
        if name not in self._of_fragments:
            fragment = self._fragments[name]
            self._of_fragments[name] = self.part(fragment.selection_set, type_from_ast(self._schema, fragment.type_condition))
        return self._of_fragments[name]


@lru_cache
def items_of_schema(schema: GraphQLSchema) -> Mapping[str, float]:
    """How many items the lists have that introspection tells: the schema's, or on the average a type's or a field's."""
    types = list(schema.type_map.values())
    with_fields = [each for each in types if is_object_type(each) or is_interface_type(each)]
    within = {
        "fields": sum(len(each.fields) for each in with_fields),
        "interfaces": sum(len(each.interfaces) for each in with_fields),
        "inputFields": sum(len(each.fields) for each in types if is_input_object_type(each)),
        "enumValues": sum(len(each.values) for each in types if is_enum_type(each)),
        "possibleTypes": sum(len(schema.get_possible_types(each)) for each in types if is_abstract_type(each)),
    }
    of_types = {name: items / len(types) for name, items in within.items()}
    fields = [field for each in with_fields for field in each.fields.values()]
    of_fields = {"args": sum(len(each.args) for each in fields) / len(fields)}
    return {"types": len(types), "directives": len(schema.directives), **of_types, **of_fields}


def _flat(
    schema: GraphQLSchema, selections: SelectionSetNode, type: GraphQLNamedType | None
) -> Iterator[tuple[FieldNode | FragmentSpreadNode, GraphQLNamedType | None]]:
    """The fields and spreads of a selection and of the fragments written in it, with the type that they are of."""
    todo = [(selections, type)]
    while todo:
        inner, on = todo.pop()
        for each in inner.selections:
            if isinstance(each, InlineFragmentNode):
                condition = each.type_condition
                todo.append((each.selection_set, type_from_ast(schema, condition) if condition else on))
            elif isinstance(each, FieldNode | FragmentSpreadNode):
                yield each, on


def _sizes(node: FieldNode, *names: str) -> tuple[Size, ...]:
    """The sizes that arguments of these names tell."""
    return tuple(size for each in node.arguments or () if each.name.value in names and (size := _size(each.value)) is not None)


def _size(value: ValueNode) -> Size | None:
    """The size that a value in a document tells; None for one that tells none."""
    match value:
        case VariableNode():
            return value.name.value
        case IntValueNode():
            return _within(int(value.value))
        case ListValueNode():
            return len(value.values)
        case _:
            return None


def _total(parts: Sequence[Sequence[Term]], variables: Mapping[str, Any]) -> int:
    """The price of the last part."""
    prices: list[tuple[float, float]] = []  # of each part: once, and for each item of the page that it is of
    for terms in parts:
        once = each = 0.0
        for term in terms:
            if term.kind == "flat":
                once += term.part
                continue
            its_once, its_each = prices[term.part]
            size = max(_told(variables.get(size)) if isinstance(size, str) else size for size in term.sizes)
            match term.kind:
                case "spread":
                    once, each = once + its_once, each + its_each
                case "items":
                    each += 1 + its_once
                case "page":
                    once += 1 + its_once + size * its_each
                case _:
                    once += size * (1 + its_once + DEFAULT_SIZE * its_each)
        prices.append((once, each))
    return ceil(prices[-1][0])


def _told(value: Any) -> int:
    """The size that a variable tells."""
    if isinstance(value, list):
        return len(value)
    return _within(value) if isinstance(value, int) else DEFAULT_SIZE


def _within(size: int) -> int:
    """A size that a page can have; the field refuses another."""
    return min(max(size, 1), LARGEST_SIZE)
