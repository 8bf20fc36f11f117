"""Documents: parsed and validated once, and looked through for what carrying them out will take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from graphql import (
    SKIP,
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    ValidationRule,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VariableDefinitionNode,
    VisitorAction,
    get_named_type,
    is_introspection_type,
    parse,
    specified_rules,
    validate,
)
from graphql.utilities import type_from_ast, validate_input_literal
from graphql.validation import ASTValidationRule

from app.api.compiled import Compiled, compiled
from app.api.errors import Code, unquoted
from app.api.fields import cost_of
from app.api.limits import INTROSPECTION, MOST_TOKENS, too_much
from app.api.permissions import Demands, demands
from app.api.price import Price, price
from app.errors import BadInput

KEPT = 1000
LONGEST_KEPT = 20_000
"""Characters of a document that is kept, so that nobody fills the memory with comments."""

MOMENTS = frozenset({"Moment", "AsOf"})
"""The input types that name points in the past."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation will take."""

    type: OperationType
    projections: frozenset[str]
    """The projections that its fields read."""
    one_statement: bool
    """It runs one statement at most, which by itself reads one state of the database."""
    moments: Sequence[ValueNode]
    """The arguments that name points in the past."""
    closable: bool
    """All that it asks is asked as of moments, whatever these are."""
    demands: Demands
    """What it takes of who sends it."""
    price: Price
    """What it costs."""
    introspects: bool
    """It asks for the schema."""
    compiled: Compiled | None
    """What is known of carrying it out."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document that may be carried out, or what is wrong with it."""

    node: DocumentNode | None = None
    plans: Mapping[str | None, Plan] = {}
    """By the operation's name; by None when there is only one operation."""
    error_code: Code = "BAD_USER_INPUT"
    errors: Sequence[GraphQLError] = ()


class Documents:
    """The documents that clients sent lately."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept = lru_cache(KEPT)(self._prepare)

    def prepare(self, text: str) -> Document:
        """The document that the text spells."""
        return self._kept(text) if len(text) <= LONGEST_KEPT else self._prepare(text)

    def _prepare(self, text: str) -> Document:
        try:
            node = parse(text, max_tokens=MOST_TOKENS)
        except GraphQLError as error:
            return Document(error_code="GRAPHQL_PARSE_FAILED", errors=[error])
        if errors := too_much(node) or validate(self._schema, node, RULES):
            return Document(error_code="GRAPHQL_VALIDATION_FAILED", errors=errors)
        return Document(node=node, plans=_plans(self._schema, node))


class NamedValuesRule(ValuesOfCorrectTypeRule):
    """Literal values have the types of their arguments. The original rule's errors do not say which argument is wrong."""

    _argument = ""

    def enter_argument(self, node: ArgumentNode, *_args: Any) -> None:
        self._argument = node.name.value

    def enter_variable_definition(self, node: VariableDefinitionNode, *_args: Any) -> None:
        self._argument = f"${node.variable.name.value}"

    def is_valid_value_node(self, node: ValueNode, input_type: Any) -> VisitorAction:
        def report(error: GraphQLError, path: list[str | int]) -> None:
            argument = ".".join([self._argument, *map(str, path)])
            rule = unquoted(f"{argument}: {error.message}").removeprefix(f"{argument}: ")
            broken = BadInput(argument, rule)
            self.report_error(GraphQLError(broken.message, error.nodes or node, original_error=broken))

        if input_type:
            validate_input_literal(node, input_type, report)
        return SKIP


class StorableTextRule(ValidationRule):
    """Texts hold no character that PostgreSQL does not; in the variables, the request's JSON is looked through for it."""

    def enter_string_value(self, node: StringValueNode, *_args: Any) -> None:
        if "\0" in node.value:
            broken = BadInput(node.value.replace("\0", "\\u0000"), "holds the character U+0000, which PostgreSQL does not")
            self.report_error(GraphQLError(broken.message, node, original_error=broken))


class PlainIntrospectionRule(ValidationRule):
    """Nothing of the schema is told twice: by aliases a short document would multiply what it asks for, level by level."""

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        type = self.context.get_parent_type()
        if node.alias and type and is_introspection_type(type):
            self.report_error(GraphQLError(f"{type.name}.{node.name.value} may not have another name", node))


RULES: Sequence[type[ASTValidationRule]] = (
    StorableTextRule,
    PlainIntrospectionRule,
    *(NamedValuesRule if rule is ValuesOfCorrectTypeRule else rule for rule in specified_rules),
)


def _plans(schema: GraphQLSchema, document: DocumentNode) -> Mapping[str | None, Plan]:
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    plans: dict[str | None, Plan] = {
        each.name.value if each.name else None: _plan(schema, document, each, fragments) for each in operations
    }
    return plans if len(plans) > 1 else {**plans, None: next(iter(plans.values()))}


def _plan(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Plan:
    projections: set[str] = set()
    statements = 0
    moments: list[ValueNode] = []
    closable, root = True, schema.get_root_type(operation.operation)
    fields = list(_fields(schema, operation, fragments))
    for type, node in fields:
        field = schema.get_field(type, node.name.value)
        if field is None:
            continue
        cost = cost_of(field)
        projections |= cost.projections
        statements += cost.statements
        named = [each.value for each in node.arguments or () if get_named_type(field.args[each.name.value].type).name in MOMENTS]
        moments += named
        asks_now = type is root and not named and node.name.value != "__typename"
        closable = closable and not asks_now and (cost.timeless or not cost.statements)
    return Plan(
        type=operation.operation,
        projections=frozenset(projections),
        one_statement=statements <= 1,
        moments=moments,
        closable=closable,
        demands=demands(schema, fields),
        price=price(schema, operation, fragments),
        introspects=any(node.name.value in INTROSPECTION for _, node in fields),
        compiled=compiled(schema, document, operation),
    )


def _fields(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[tuple[Any, FieldNode]]:
    """Every field of the operation with its parent type; those of a fragment once for the first two times it is spread.

    Twice is as good as often for telling whether there is more than one statement, and keeps this linear in the document.
    """
    spread: dict[str, int] = {}
    todo: list[tuple[SelectionSetNode, GraphQLNamedType | None]] = [
        (operation.selection_set, schema.get_root_type(operation.operation))
    ]
    while todo:
        selections, type = todo.pop()
        for each in selections.selections:
            if isinstance(each, FieldNode):
                yield type, each
                field = schema.get_field(type, each.name.value)  # type: ignore[arg-type]  # validated: a type with fields
                if each.selection_set and field:
                    todo.append((each.selection_set, get_named_type(field.type)))
                continue
            fragment: InlineFragmentNode | FragmentDefinitionNode
            if isinstance(each, FragmentSpreadNode):
                spread[each.name.value] = spread.get(each.name.value, 0) + 1
                if spread[each.name.value] > 2:
                    continue
                fragment = fragments[each.name.value]
            else:
                assert isinstance(each, InlineFragmentNode)
                fragment = each
            on = fragment.type_condition
            todo.append((fragment.selection_set, type_from_ast(schema, on) if on else type))
