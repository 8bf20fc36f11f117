"""Ways to declare a field: where its value lies, and whether reading it costs a statement.

Strawberry calls a Python function for every field value. Most values here are attributes of a folded stream or of a
recorded event, so such a field only says where the attribute lies, and `app.api.lean` reads it directly.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import strawberry
from graphql import GraphQLField
from strawberry.types.field import StrawberryField

from app.security.permissions import Needs

DEFINITION = "strawberry-definition"
"""Under this name Strawberry's declaration of a field is among the extensions of the finished one."""
PATH = "path"
IN_ROW = "in row"
"""Whether the thing's read table has a column of the field's name in Python that holds the same."""
COST = "cost"
NEEDS = "needs"


def attribute(owner: str, description: str, name: str = "", *, in_row: bool = False) -> Any:
    """A field that is an attribute of `owner`, a dotted path from the object; by default the one of the field's own name."""
    declared: Any = strawberry.field(description=description, metadata={PATH: f"{owner}.{name}", IN_ROW: in_row})
    declared.init = False  # it is no argument of the dataclass that Strawberry makes; its parameter `init` is for type checkers
    return declared


def of_stream(description: str) -> Any:
    """A field read from the folded stream: its id, version or position."""
    return attribute("stream", description, in_row=True)


def of_state(description: str) -> Any:
    """A field read from the state of the folded stream."""
    return attribute("stream.state", description, in_row=True)


def of_recorded(description: str) -> Any:
    """A field read from the recorded event."""
    return attribute("recorded", description)


class Cost(NamedTuple):
    """What a field's resolver asks the database."""

    projections: frozenset[str]
    """The projections that it reads; none when it reads the log itself."""
    statements: int
    timeless: bool = False
    """Of a thing shown as of a moment it tells what was true then, whenever it is asked."""


NOTHING = Cost(frozenset(), 0)


def reads(*projections: str, statements: int = 1, timeless: bool = False) -> Cost:
    """The cost of a field whose resolver asks the database, for `field`: it decides whether a snapshot is needed."""
    return Cost(frozenset(projections), statements, timeless)


def cost_of(field: GraphQLField) -> Cost:
    """What the field's resolver asks the database."""
    declared: StrawberryField | None = field.extensions.get(DEFINITION)
    return declared.metadata.get(COST, NOTHING) if declared else NOTHING


F = TypeVar("F", bound=Callable[..., Any])


def field(description: str, cost: Cost = NOTHING, needs: Needs | None = None) -> Callable[[F], F]:
    """A field that the decorated method answers. What reads the database, or can be asked for itself, says what that needs."""
    return cast(Callable[[F], F], strawberry.field(description=description, metadata={COST: cost, NEEDS: needs}))


def mutation(description: str, needs: Needs) -> Callable[[F], F]:
    """A mutation that the decorated method carries out."""
    return cast(Callable[[F], F], strawberry.mutation(description=description, metadata={NEEDS: needs}))


def subscription(description: str, told: Any, cost: Cost = NOTHING, needs: Needs | None = None) -> Callable[[F], F]:
    """A subscription that tells of things of the type `told`; the decorated method returns their `broadcasts.Source`."""
    return cast(
        Callable[[F], F], strawberry.field(description=description, graphql_type=told, metadata={COST: cost, NEEDS: needs})
    )


def described(type: type[enum.Enum], description: str, values: Mapping[str, str]) -> None:
    """Make an enum that is declared elsewhere a type of the graph, with a description of it and of each value."""
    graph_type: Any = strawberry.enum(type, description=description)
    for value in graph_type.__strawberry_definition__.values:
        value.description = values[value.name]
