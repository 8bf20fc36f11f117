"""Execution with less work for each field.

graphql-core does much for every field value, and Strawberry wraps every resolver to convert arguments: together some
10 µs, and a page of 50 users with 7 fields has 350 values. Most need none of it: they are attributes, or come of a
method without arguments. So the finished schema is gone through once, and such fields get a short way. The others lose
Strawberry's wrappers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from operator import attrgetter, itemgetter
from typing import Any, cast

import msgspec
from graphql import (
    ExecutionResult,
    GraphQLField,
    GraphQLID,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
    get_nullable_type,
    is_leaf_type,
    is_object_type,
)
from graphql.execution import Executor
from strawberry.schema.schema_converter import CustomGraphQLEnumType, GraphQLCoreConverter
from strawberry.types.arguments import convert_argument
from strawberry.types.field import StrawberryField

from app.api.context import Info
from app.api.fields import DEFINITION, IN_ROW, PATH
from app.eventstore.database import Row

LEAF = "leaf"
AWAITED = "awaited"

Convert = Callable[[Any], Any]


class Leaf(msgspec.Struct, frozen=True):
    """A field of a scalar or enum type that is read without arguments and without awaiting."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    nullable: bool
    plain: type[Any] | None = None
    """Values of this very type are answered as they are."""
    column: str = ""
    """The column of the read table that holds the same, if there is one."""
    in_row: Callable[[Any], Any] | None = None
    """Reads it from a row that need not have other columns."""


Leaves = Sequence[tuple[str, Leaf]]
"""By the name under which the client wants each."""


class LeanExecutor(Executor[Any]):
    """graphql-core's executor with a short way for leaves."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[int, Leaves | None] = {}
        """By the identity of a set of fields, which the executor keeps as long as it lives."""

    async def result(self) -> ExecutionResult:
        """What the operation comes to."""
        result: Any = self.execute_operation()
        return await result if isawaitable(result) else result  # type: ignore[no-any-return]  # no incremental delivery here

    def execute_collected_subfields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Any,
        grouped_field_set: Any,
        new_defer_usages: Any,
        position_context: Any,
    ) -> Any:
        leaves = self._leaves(parent_type, grouped_field_set)
        values = read(leaves, source_value) if leaves else None
        if values is not None:
            return values
        return super().execute_collected_subfields(
            parent_type, source_value, path, grouped_field_set, new_defer_usages, position_context
        )

    def complete_list_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        leaves = self._leaves_below(return_type.of_type, field_details_list)
        values = read_all(leaves, result) if leaves and isinstance(result, list) else None
        if values is not None:
            return values
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Any, path: Any, position_context: Any
    ) -> Any:
        leaf = self._leaf(parent_type, field_details_list[0].node.name.value)
        values = read([("value", leaf)], source) if leaf else None
        if values is not None:
            return values["value"]
        return super().execute_field(parent_type, source, field_details_list, path, position_context)

    def _leaves(self, parent_type: GraphQLObjectType, grouped_field_set: Any) -> Leaves | None:
        """The fields of an object when all of them are leaves; found once for all objects of a list."""
        key = id(grouped_field_set)
        if key not in self._known:
            found = [(name, self._leaf(parent_type, details[0].node.name.value)) for name, details in grouped_field_set.items()]
            leaves = [(name, leaf) for name, leaf in found if leaf is not None]
            self._known[key] = leaves if len(leaves) == len(found) else None
        return self._known[key]

    def _leaves_below(self, type: GraphQLOutputType, field_details_list: Any) -> Leaves | None:
        """The same for the objects of a field of that type."""
        objects = get_nullable_type(type)
        if not is_object_type(objects):
            return None
        return self._leaves(objects, self.collect_subfields(objects, field_details_list).grouped_field_set)

    def _leaf(self, parent_type: GraphQLObjectType, name: str) -> Leaf | None:
        if name == "__typename":
            return Leaf(lambda _: parent_type.name, str, nullable=False, in_row=lambda _: parent_type.name)
        field = self.schema.get_field(parent_type, name)
        leaf: Leaf | None = field.extensions.get(LEAF) if field else None
        return leaf


def read(leaves: Leaves, source: Any) -> dict[str, Any] | None:
    """The values; None when one of them must go the long way, which knows how to report what is wrong with it."""
    values: dict[str, Any] = {}
    try:
        for name, leaf in leaves:
            value = leaf.read(source)
            if value is None:
                if not leaf.nullable:
                    return None
            elif value.__class__ is not leaf.plain:
                value = leaf.write(value)
            values[name] = value
    except Exception:
        return None
    return values


def read_all(leaves: Leaves, sources: Sequence[Any]) -> list[dict[str, Any]] | None:
    """The values of each of a list's items, which are objects of one type or rows; None when one must go the long way.

    They are read field by field: item by item it would take twice as long.
    """
    of_rows = bool(sources) and isinstance(sources[0], Row)
    try:
        values = [_written(leaf, map(cast(Any, leaf.in_row) if of_rows else leaf.read, sources)) for _, leaf in leaves]
    except Exception:
        return None
    names = [name for name, _ in leaves]
    return [dict(zip(names, each, strict=True)) for each in zip(*values, strict=True)]


def _written(leaf: Leaf, values: Iterable[Any]) -> list[Any]:
    """The answer's form of a field's values. Raises whatever is wrong with one."""
    write, plain = leaf.write, leaf.plain
    written = [value if value is None or value.__class__ is plain else write(value) for value in values]
    if not leaf.nullable and None in written:
        raise ValueError("a value is missing")
    return written


def lighten(schema: GraphQLSchema, converter: GraphQLCoreConverter) -> None:
    """Give every field the cheapest way there is to answer it."""
    for type in schema.type_map.values():
        if is_object_type(type):
            for field in type.fields.values():
                _lighten_field(field, converter)


def _lighten_field(field: GraphQLField, converter: GraphQLCoreConverter) -> None:
    declared: StrawberryField | None = field.extensions.get(DEFINITION)
    if declared is None:
        return
    if declared.arguments or (declared.base_resolver and declared.base_resolver.info_parameter):
        field.resolve = _method(declared, _conversions(field, declared, converter))
    elif not declared.is_async:
        read = _reader(declared)
        field.resolve = lambda source, _info: read(source)
        type = get_nullable_type(field.type)
        if is_leaf_type(type):
            plain = str if type in (GraphQLString, GraphQLID) else None
            column = declared.python_name if declared.metadata.get(IN_ROW) else ""
            in_row = itemgetter(column) if column else None
            field.extensions[LEAF] = Leaf(read, _writer(type), type is field.type, plain, column, in_row)
    field.extensions[AWAITED] = declared.is_async


def _writer(type: GraphQLLeafType) -> Callable[[Any], Any]:
    """What makes the answer's form of a value. For an enum's Strawberry would go through all of its values."""
    if type is GraphQLID:
        return str  # ids are UUIDs; graphql-core's own would look for numbers first
    if isinstance(type, CustomGraphQLEnumType):
        members: Iterable[Any] = type.wrapped_cls
        return {member: type.coerce_output_value(member) for member in members}.__getitem__
    return type.coerce_output_value


def _method(declared: StrawberryField, conversions: Mapping[str, Convert]) -> Callable[..., Any]:
    """Calls the field's method with what it takes, and with nothing between."""
    assert declared.base_resolver, f"{declared.python_name} takes arguments, so there is a method for them"
    method: Callable[..., Any] = cast(Any, declared.base_resolver.wrapped_func)
    wants_info = declared.base_resolver.info_parameter is not None

    def resolve(source: Any, info: GraphQLResolveInfo[Any], columns: frozenset[str] | None = None, **given: Any) -> Any:
        for name, convert in conversions.items():
            if name in given:
                given[name] = convert(given[name])
        if wants_info:
            given["info"] = Info(_raw_info=info, _field=declared, columns=columns)
        return method(source, **given)

    return resolve


def _conversions(field: GraphQLField, declared: StrawberryField, converter: GraphQLCoreConverter) -> dict[str, Convert]:
    """How to make Strawberry's types of arguments, by their names in Python, under which graphql-core will hand them over."""
    conversions: dict[str, Convert] = {}
    for (name, argument), of in zip(field.args.items(), declared.arguments, strict=True):
        assert name == converter.config.name_converter.from_argument(of)
        argument.out_name = of.python_name
        if not is_leaf_type(get_nullable_type(argument.type)):
            conversions[of.python_name] = partial(
                convert_argument, type_=of.type, scalar_registry=converter.scalar_registry, config=converter.config
            )
    return conversions


def _reader(declared: StrawberryField) -> Callable[[Any], Any]:
    if declared.base_resolver:
        return cast(Callable[[Any], Any], declared.base_resolver.wrapped_func)
    owner, _, name = declared.metadata.get(PATH, "").rpartition(".")
    return attrgetter(".".join(filter(None, (owner, name or declared.python_name))))
