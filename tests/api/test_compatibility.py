"""Which changes of a schema break clients, which may surprise them, and which are safe."""

from __future__ import annotations

import pytest
from graphql import build_schema

from app.api.compatibility import Change, changes

BASE = """
type Query { users(order: Order! = ASC, filter: Filter, at: Moment): [Person] node: Node day: Day }
type Mutation { rename(name: String!): Boolean }
interface Node { id: ID! }
type Person implements Node { id: ID! name: String }
input Filter { name: String  limit: Int! = 10 }
input Moment @oneOf { version: Int  position: Int }
enum Order { ASC DESC }
scalar Day @specifiedBy(url: "https://example.org/day")
directive @slowly(by: Int! = 1) on FIELD
"""


def found(was: str, becomes: str) -> list[Change]:
    assert was in BASE
    return changes(build_schema(BASE), build_schema(BASE.replace(was, becomes)))


def test_the_same_schema_has_no_changes() -> None:
    assert changes(build_schema(BASE), build_schema(BASE)) == []


@pytest.mark.parametrize(
    ("was", "becomes", "impact", "kind", "subject"),
    [
        # by graphql-core
        ("name: String }", "}", "breaking", "FIELD_REMOVED", "Person.name"),
        ("rename(name: String!)", "rename(name: String!, id: ID!)", "breaking", "REQUIRED_ARG_ADDED", "Mutation.rename(id:)"),
        ("rename(name: String!)", "rename(name: String!, id: ID)", "dangerous", "OPTIONAL_ARG_ADDED", "Mutation.rename(id:)"),
        ("ASC DESC", "ASC DESC NONE", "dangerous", "VALUE_ADDED_TO_ENUM", "Order.NONE"),
        ("= ASC", "= DESC", "dangerous", "ARG_DEFAULT_VALUE_CHANGE", "Query.users(order:)"),
        ("name: String }", "name: String age: Int }", "safe", "FIELD_ADDED", "Person.age"),
        # by us
        ("order: Order! = ASC", "order: Order!", "breaking", "REQUIRED_DEFAULT_REMOVED", "Query.users(order:)"),
        ("limit: Int! = 10", "limit: Int!", "breaking", "REQUIRED_DEFAULT_REMOVED", "Filter.limit"),
        ("by: Int! = 1", "by: Int!", "breaking", "REQUIRED_DEFAULT_REMOVED", "@slowly(by:)"),
        ("input Filter {", "input Filter @oneOf {", "breaking", "ONE_OF_ADDED", "Filter"),
        ("@oneOf", "", "safe", "ONE_OF_REMOVED", "Moment"),
        ("type Mutation {", "schema { query: Query }\ntype Mutation {", "breaking", "ROOT_TYPE_CHANGED", "mutation"),
        ("/day", "/date", "dangerous", "SPECIFICATION_CHANGED", "https://example.org/date"),
        ("enum", "type Robot implements Node { id: ID! }\nenum", "dangerous", "TYPE_ADDED_TO_INTERFACE", "Robot"),
        ("name: String }", 'name: String @deprecated(reason: "a") }', "safe", "DEPRECATION_ADDED", "Person.name"),
    ],
)
def test_a_change_is_found_and_weighed(was: str, becomes: str, impact: str, kind: str, subject: str) -> None:
    assert [change.impact for change in found(was, becomes) if change.kind == kind and subject in change.description] == [impact]


def test_a_default_is_taken_without_harm_where_null_will_do() -> None:
    optional = BASE.replace("limit: Int! = 10", "limit: Int = 10")
    taken = changes(build_schema(optional), build_schema(optional.replace("= 10", "")))
    assert [change.impact for change in taken] == ["dangerous"]


def test_what_is_deprecated_no_longer_is_said() -> None:
    deprecated = BASE.replace("name: String }", 'name: String @deprecated(reason: "a") }')
    (change,) = changes(build_schema(deprecated), build_schema(BASE))
    assert (change.impact, change.kind) == ("safe", "DEPRECATION_REMOVED")


def test_the_worst_comes_first() -> None:
    assert [change.impact for change in found("order: Order! = ASC", "order: Order!")] == ["breaking", "dangerous"]
