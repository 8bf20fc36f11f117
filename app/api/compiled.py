"""Operations as far as they are the same for every request: worked out once, and kept with their document.

graphql-core makes an executor for each request, which collects the operation's fields and reads the literals of its
arguments anew. The executors that are made here share what the first of them found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self, cast

import msgspec
from graphql import (
    BREAK,
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    ValueNode,
    VariableNode,
    Visitor,
    VisitorAction,
    get_argument_values,
    get_nullable_type,
    get_variable_values,
    is_leaf_type,
    is_non_null_type,
    is_object_type,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields
from graphql.execution.executor import CollectedErrors, default_field_resolver, default_type_resolver
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import Path
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal, coerce_input_value

from app.api.lean import AWAITED, LeanExecutor, Leaves, read

MOST_ERRORS = 50
"""Wrong variables of which a client is told, as graphql-core has it."""


class Compiled:
    """An operation of a validated document without directives, on which it could depend which fields there are."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        signatures = [get_variable_signature(schema, each) for each in self._definitions]
        self._variables = [each for each in signatures if isinstance(each, GraphQLVariableSignature) and _is_leaf(each)]
        self._all_leaves = len(self._variables) == len(signatures)
        self._first = CompiledExecutor.first(schema, document, operation)

    def executor(self, context: object, given: dict[str, Any]) -> LeanExecutor | list[GraphQLError]:
        """An executor for one request, or what is wrong with its variables."""
        variables = self._coerced(given) or get_variable_values(self._schema, self._definitions, given, MOST_ERRORS)
        return variables if isinstance(variables, list) else self._first.again(context, variables)

    def _coerced(self, given: dict[str, Any]) -> VariableValues | None:
        """The variables; None when they must go the long way, which knows defaults and how to report what is wrong."""
        if not self._all_leaves:
            return None
        values = VariableValues({}, {})
        for variable in self._variables:
            value = given.get(variable.name, Undefined)
            coerced = Undefined if value is Undefined else coerce_input_value(value, variable.type)
            if coerced is Undefined:
                return None
            values.sources[variable.name] = VariableValueSource(variable, value)
            values.coerced[variable.name] = coerced
        return values


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A field whose method is awaited, and what of its arguments the document tells."""

    field: GraphQLField
    method: Callable[..., Awaitable[Any]]
    details: Any
    """Where the document asks for the field; graphql-core's."""
    constants: dict[str, Any]
    variables: Sequence[tuple[str, str, bool]]
    """The arguments that are variables: the argument's name in Python, the variable's, and whether it must not be null."""
    literals: Sequence[tuple[str, ValueNode, GraphQLInputType]]
    """Those that hold variables: the name in Python, the value in the document, and its type."""
    leaves: Leaves | None
    """The fields of the object that it comes to, when all of them are leaves."""

    def arguments(self, values: VariableValues) -> dict[str, Any]:
        """The arguments of one request. Raises what graphql-core raises."""
        arguments = self.constants.copy()
        for name, variable, required in self.variables:
            if variable in values.coerced:
                arguments[name] = values.coerced[variable]
            if required and arguments.get(name) is None:
                return get_argument_values(self.field, self.details[0].node, values)
        for name, literal, type in self.literals:
            arguments[name] = coerce_input_literal(literal, type, values)
            if arguments[name] is Undefined:
                return get_argument_values(self.field, self.details[0].node, values)
        return arguments


class CompiledExecutor(LeanExecutor):
    """An executor that shares all it finds out about the operation with the others of the same one."""

    _root: GraphQLObjectType
    _fields: Any
    """The root fields, as graphql-core collected them."""
    _calls: dict[int, Call | None]
    """By the identity of a field's details."""

    @classmethod
    def first(cls, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Self:
        """The one that the others are made of. It has no request to answer."""
        fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        details = {name: FragmentDetails(each) for name, each in fragments.items()}
        resolvers = (default_field_resolver, default_type_resolver, default_field_resolver)
        first = cls(schema, fragments, details, None, None, operation, VariableValues({}, {}), *resolvers)
        root = schema.get_root_type(operation.operation)
        assert root, "the document is validated"
        first._root, first._calls = root, {}
        first._fields = collect_fields(schema, details, first.variable_values, root, operation).grouped_field_set
        return first

    def again(self, context: object, variables: VariableValues) -> Self:
        """An executor of the same operation for one request."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.context_value, other.variable_values, other.collected_errors = context, variables, CollectedErrors()
        return other

    async def result(self) -> ExecutionResult:
        """What the operation comes to, as `execute_operation` has it."""
        try:
            data = await self._only_field() if len(self._fields) == 1 else await self._all_fields()
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            data = None
        return ExecutionResult(data, self.collected_errors.errors or None)

    async def _only_field(self) -> dict[str, Any]:
        [(name, details)] = self._fields.items()
        value = self.execute_field(self._root, self.root_value, details, Path(None, name, self._root.name), None)
        return {name: await value if self.is_awaitable(value) else value}

    async def _all_fields(self) -> Any:
        serially = self.operation.operation is OperationType.MUTATION
        data = self.execute_root_grouped_field_set(self._root, self.root_value, self._fields, serially, None)
        return await data if self.is_awaitable(data) else data

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Any, path: Any, position_context: Any
    ) -> Any:
        key = id(field_details_list)  # which is among what is shared
        if key not in self._calls:
            self._calls[key] = self._call(parent_type, field_details_list)
        call = self._calls[key]
        if call is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        return self._awaited(call, parent_type, source, path)

    async def _awaited(self, call: Call, parent_type: GraphQLObjectType, source: Any, path: Any) -> Any:
        """What `execute_field` and `complete_awaitable_value` do."""
        field, details = call.field, call.details
        try:
            info = self.build_resolve_info(field, [each.node for each in details], parent_type, path)
            found = await call.method(source, info, **call.arguments(self.variable_values))
            if call.leaves and found is not None and (values := read(call.leaves, found)) is not None:
                return values
            completed = self.complete_value(field.type, details, info, path, found, None)
            return await completed if self.is_awaitable(completed) else completed
        except Exception as error:
            self.handle_field_error(error, field.type, details, path)
            return None

    def _columns_below(self, type: GraphQLOutputType, details: Any) -> frozenset[str] | None:
        """What a field that comes to a connection needs of its nodes' rows; None when it needs more than columns."""
        connection = get_nullable_type(type)
        if not is_object_type(connection) or "nodes" not in connection.fields:
            return None
        nodes = cast(GraphQLList[Any], get_nullable_type(connection.fields["nodes"].type))
        columns: set[str] = set()
        for below in self.collect_subfields(connection, details).grouped_field_set.values():
            name = below[0].node.name.value
            leaves = self._leaves_below(nodes.of_type, below) if name == "nodes" else ()
            if name == "edges" or leaves is None or not all(leaf.in_row for _, leaf in leaves):
                return None
            columns |= {leaf.column for _, leaf in leaves if leaf.column}
        return frozenset(columns)

    def _call(self, parent_type: GraphQLObjectType, details: Any) -> Call | None:
        """None for a field that is not awaited."""
        field = self.schema.get_field(parent_type, details[0].node.name.value)
        if field is None or field.resolve is None or not field.extensions.get(AWAITED):
            return None
        given = {each.name.value: each.value for each in details[0].node.arguments or ()}
        constants: dict[str, Any] = {}
        variables: list[tuple[str, str, bool]] = []
        literals: list[tuple[str, ValueNode, GraphQLInputType]] = []
        for name, argument in field.args.items():
            value, out_name = given.get(name), argument.out_name or name
            if value is None or isinstance(value, VariableNode):
                constants[out_name] = coerce_default_value(argument)
            elif _is_constant(value):
                constants[out_name] = coerce_input_literal(value, argument.type)
            else:
                literals.append((out_name, value, argument.type))
            if isinstance(value, VariableNode):
                variables.append((out_name, value.name.value, is_non_null_type(argument.type)))
        known = {name: value for name, value in constants.items() if value is not Undefined}
        columns = self._columns_below(field.type, details)
        return Call(
            field=field,
            method=field.resolve if columns is None else partial(field.resolve, columns=columns),
            details=details,
            constants=known,
            variables=variables,
            literals=literals,
            leaves=self._leaves_below(field.type, details),
        )


def _is_constant(value: ValueNode) -> bool:
    """Whether no part of the value is a variable."""
    if isinstance(value, ObjectValueNode):
        return all(_is_constant(field.value) for field in value.fields)
    if isinstance(value, ListValueNode):
        return all(map(_is_constant, value.values))
    return not isinstance(value, VariableNode)


def compiled(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Compiled | None:
    """The operation, compiled; None when graphql-core has to look at all of it for every request."""
    if _has_directives(document):
        return None
    try:
        return Compiled(schema, document, operation)
    except RecursionError:  # graphql-core will say so to who sent it
        return None


def _has_directives(document: DocumentNode) -> bool:
    found: list[DirectiveNode] = []

    class Finder(Visitor):
        def enter_directive(self, node: DirectiveNode, *_args: Any) -> VisitorAction:
            found.append(node)
            return BREAK

    visit(document, Finder())
    return bool(found)


def _is_leaf(variable: GraphQLVariableSignature) -> bool:
    return is_leaf_type(get_nullable_type(variable.type))
