"""The short way to leaves answers, and fails, exactly as graphql-core's own way does."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import ExecutionResult, Executor, GraphQLObjectType, build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from app.api.lean import LEAF, Leaf, LeanExecutor

SCHEMA = build_schema("""
    type Query { things: [Thing!]! one: Thing }
    type Thing { name: String! note: String parts: [Thing!] }
""")


def written(value: object) -> str:
    if value == "unwritable":
        raise ValueError("cannot be written")
    return str(value)


def shorten(name: str, *, nullable: bool) -> None:
    thing = SCHEMA.type_map["Thing"]
    assert isinstance(thing, GraphQLObjectType)
    field = thing.fields[name]
    field.resolve = lambda source, _info: None if source[name] is None else written(source[name])
    field.extensions[LEAF] = Leaf(lambda source: source[name], written, nullable)


shorten("name", nullable=False)
shorten("note", nullable=True)

TEXTS = st.none() | st.sampled_from(["a", "b", "unwritable"])
THINGS = st.recursive(
    st.fixed_dictionaries({"name": TEXTS, "note": TEXTS, "parts": st.none()}),
    lambda parts: st.fixed_dictionaries({"name": TEXTS, "note": TEXTS, "parts": st.none() | st.lists(parts, max_size=3)}),
    max_leaves=5,
)
DOCUMENTS = [
    "{ things { name note } one { name } }",
    "{ things { __typename a: name b: name } }",
    "{ things { note ...More } one { ...More } } fragment More on Thing { name __typename }",
    "{ things { name @skip(if: true) note @include(if: true) } one { note @include(if: false) } }",
    "{ things { name parts { note parts { name } } } one { parts { __typename } note } }",
]


@pytest.mark.parametrize("document", DOCUMENTS)
@given(things=st.lists(THINGS, max_size=4), one=st.none() | THINGS)
def test_it_answers_as_the_long_way_does(document: str, things: list[Any], one: Any) -> None:
    root = {"things": things, "one": one}
    assert answer(LeanExecutor, document, root) == answer(Executor, document, root)


def answer(executor: type[Executor[Any]], document: str, root: Any) -> tuple[Any, list[tuple[str, Any]]]:
    built = executor.build(SCHEMA, parse(document), root)
    assert not isinstance(built, list)
    result = built.execute_operation()
    assert isinstance(result, ExecutionResult)
    return result.data, [(error.message, error.path) for error in result.errors or ()]
