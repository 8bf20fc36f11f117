"""Limits of a document's form, held against it before it is validated, in time linear in it.

Each fragment is looked through once, however often it is spread: what it adds wherever that happens is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from operator import or_

import msgspec
from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

MOST_TOKENS = 1000
DEEPEST = 12
MOST_ALIASES = 15
MOST_REPEATED = 15
"""Times that one selection may select a field under the same name: each is compared with each."""
MOST_DIRECTIVES = 50

INTROSPECTION = frozenset({"__schema", "__type"})
"""Fields below these are not counted as deep: graphql-core limits what can be asked of a schema by a rule of its own."""


class Form(msgspec.Struct, frozen=True):
    """The form of an operation or fragment by itself."""

    depth: int
    """Fields within fields."""
    spreads: Mapping[str, int]
    """The fragments that it spreads, each with how deep that is at most."""
    aliased: Counter[str]
    """How often a field has a name of the client's, by its own name."""
    repeated: Counter[str]
    """How often a selection selects a name, at most."""
    directives: int


def too_much(document: DocumentNode) -> list[GraphQLError]:
    """What of the document's form is beyond a limit."""
    definitions = [each for each in document.definitions if isinstance(each, ExecutableDefinitionNode)]
    forms = [form(each) for each in definitions]
    fragments = {
        each.name.value: its for each, its in zip(definitions, forms, strict=True) if isinstance(each, FragmentDefinitionNode)
    }
    depths: dict[str, int] = {}
    found: list[GraphQLError] = []
    for definition, its in zip(definitions, forms, strict=True):
        deep = _depth(its, fragments, depths) if isinstance(definition, OperationDefinitionNode) else 0
        if deep > DEEPEST:
            found.append(GraphQLError(f"the operation is {deep} fields deep, and may be {DEEPEST}", definition))
    aliased = sum((its.aliased for its in forms), Counter[str]())
    for name, times in aliased.items():
        if times > MOST_ALIASES:
            found.append(GraphQLError(f"the field {name} has {times} aliases, and may have {MOST_ALIASES} in a document"))
    repeated = reduce(or_, (its.repeated for its in forms), Counter[str]())
    for name, times in repeated.items():
        if times > MOST_REPEATED:
            found.append(GraphQLError(f"{name} is selected {times} times in one place, and may be {MOST_REPEATED} times"))
    directives = sum(its.directives for its in forms)
    if directives > MOST_DIRECTIVES:
        found.append(GraphQLError(f"the document has {directives} directives, and may have {MOST_DIRECTIVES}"))
    return found


def form(definition: ExecutableDefinitionNode) -> Form:
    """What can be told of a definition without looking at any other."""
    deepest, directives = 0, len(definition.directives or ())
    spreads: dict[str, int] = {}
    aliased: Counter[str] = Counter()
    repeated: Counter[str] = Counter()
    todo: list[tuple[SelectionSetNode, int]] = [(definition.selection_set, 1)]
    while todo:
        selections, depth = todo.pop()
        fields = (each for each in selections.selections if isinstance(each, FieldNode))
        repeated |= Counter((each.alias or each.name).value for each in fields)
        for each in selections.selections:
            directives += len(_directives(each))
            if isinstance(each, FragmentSpreadNode):
                name = each.name.value
                spreads[name] = max(depth, spreads.get(name, 0))
                continue
            inner, below = getattr(each, "selection_set", None), depth
            if isinstance(each, FieldNode):
                deepest, below = max(deepest, depth), depth + 1
                aliased[each.name.value] += each.alias is not None
                if each.name.value in INTROSPECTION:
                    continue
            if inner:
                todo.append((inner, below))
    return Form(deepest, spreads, aliased, repeated, directives)


def _directives(selection: SelectionNode) -> tuple[DirectiveNode, ...]:
    return tuple(selection.directives or ())


def _depth(its: Form, fragments: Mapping[str, Form], known: dict[str, int]) -> int:
    """How deep a definition is with all that it spreads. A fragment that is missing, or within itself, is found later."""
    deepest = its.depth
    for name, depth in its.spreads.items():
        if name not in known and name in fragments:
            known[name] = 0
            known[name] = _depth(fragments[name], fragments, known)
        deepest = max(deepest, depth - 1 + known.get(name, 0))
    return deepest
