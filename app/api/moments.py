"""Moments: how a request names a point in the past."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, overload

import strawberry
from strawberry import UNSET
from strawberry.types import get_object_definition
from strawberry.types.arguments import InputContext

from app.api.scalars import Position
from app.domain.aggregate import Stream
from app.errors import BadInput
from app.eventstore.moment import Moment


@strawberry.input(name="Moment", one_of=True, description="A point in the life of one thing. Give exactly one of the fields.")
class MomentInput:
    version: int | None = strawberry.field(
        default=UNSET,
        description="Right after the thing's event with this version; 0 is before its first event, one past the last is refused.",
    )
    position: Position | None = strawberry.field(
        default=UNSET,
        description="Right after the event at this position of the log, whichever thing it is about; 0 is before the first, "
        "one past the end is refused.",
    )
    timestamp: datetime | None = strawberry.field(
        default=UNSET, description="This moment: everything that occurred at it or before it counts. One to come is the present."
    )


@strawberry.input(
    name="AsOf", one_of=True, description="A point in the life of the whole directory. Give exactly one of the fields."
)
class AsOfInput:
    position: Position | None = strawberry.field(
        default=UNSET,
        description="Right after the event at this position of the log; 0 is before the first, one past the end is refused.",
    )
    timestamp: datetime | None = strawberry.field(
        default=UNSET, description="This moment: everything that occurred at it or before it counts. One to come is the present."
    )


def _made(kind: type, given: Mapping[str, Any], _context: InputContext) -> Any:
    """Of fields that are called alike in GraphQL and in Python, and need no conversion."""
    return kind(**given)


for _kind in (MomentInput, AsOfInput):
    get_object_definition(_kind, strict=True).from_input = _made

At = Annotated[
    MomentInput | None,
    strawberry.argument(description="As it was at this moment: null if it did not exist yet. Now, when not given."),
]
TheMoment = Annotated[MomentInput, strawberry.argument(description="The moment.")]
AsOf = Annotated[AsOfInput | None, strawberry.argument(description="As things were at this moment. Now, when not given.")]


@overload
def moment(argument: str, given: MomentInput | AsOfInput, head: int | None) -> Moment: ...
@overload
def moment(argument: str, given: MomentInput | AsOfInput | None, head: int | None) -> Moment | None: ...
def moment(argument: str, given: MomentInput | AsOfInput | None, head: int | None) -> Moment | None:
    """The moment that the argument names; None is now. Raises BadInput when a log that ends at `head` has no such moment."""
    if given is None:
        return None
    try:
        asked = Moment(**{name: value for name, value in vars(given).items() if value is not UNSET})
    except BadInput as error:
        raise BadInput(f"{argument}.{error.argument}", error.rule) from error
    if head is not None:
        asked.check_reached(argument, head)
    return asked


def for_neighbours(at: Moment | None, stream: Stream[object]) -> Moment | None:
    """The same moment, said so that it holds for other streams too: a version becomes the position of its event."""
    return at if at is None or at.version is None else Moment(position=stream.position)
