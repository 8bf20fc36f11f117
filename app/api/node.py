"""What has an identity: the interface Node, and what users, roles and tenants have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar
from uuid import UUID

import msgspec
import strawberry

from app.api.context import Context
from app.api.fields import attribute, of_stream
from app.api.moments import MomentInput, for_neighbours, moment
from app.api.scalars import Position
from app.domain.aggregate import Stream
from app.errors import BadInput, NotFound
from app.eventstore.moment import Moment, named_by


def identifier(argument: str, text: str) -> UUID:
    """The id that a client sent. Raises BadInput when it is none."""
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        return _unusual(argument, text)


def _unusual(argument: str, text: str) -> UUID:
    """With braces or as a URN, which Python reads too; but the usual form it reads five times as slowly as msgspec."""
    try:
        return UUID(text)
    except ValueError:
        raise BadInput(argument, f"an id is a UUID, such as 0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b, and {text!r} is none") from None


def identifiers(argument: str, texts: Sequence[str]) -> list[UUID]:
    return [identifier(f"{argument}[{place}]", text) for place, text in enumerate(texts)]


Id = Annotated[strawberry.ID, strawberry.argument(description="The id: a UUID.")]


@strawberry.interface(description="Something with an identity.")
class Node:
    id: strawberry.ID = attribute("", "A UUID. No two nodes share one, of whatever types they are.")


T = TypeVar("T", bound="Thing")


@strawberry.type
class Thing(Node):
    """A stream's face in the graph: a user, a role, a tenant."""

    of_type: ClassVar[dict[str, type[Thing]]] = {}
    """Every kind of thing by its stream type."""
    stream_type: ClassVar[str]

    stream: strawberry.Private[Stream[Any]]
    moment: strawberry.Private[Moment | None] = None
    """The moment as of which it and its neighbours are shown; None is now."""

    id: strawberry.ID = of_stream("A UUID, the id of the thing's stream of events. It never changes.")
    version: int = of_stream("How many events made it what it is here. Send it as `expectedVersion` to change only what you saw.")
    position: Position = of_stream("The place in the log of the last event that changed it.")

    def __init_subclass__(cls, stream_type: str = "") -> None:
        super().__init_subclass__()
        if stream_type:
            cls.stream_type = stream_type
            Thing.of_type[stream_type] = cls

    @classmethod
    def seen(cls, stream: Stream[Any] | None, at: Moment | None = None) -> Self | None:
        """The face of the stream, seen at the moment; None for no stream or one of another type."""
        if stream is None or stream.type != cls.stream_type:
            return None
        return cls(stream=stream, moment=for_neighbours(at, stream))

    @classmethod
    def all_seen(cls, streams: Iterable[Stream[Any]], at: Moment | None) -> list[Self]:
        """The faces of streams of this type."""
        return [cls(stream=stream, moment=at) for stream in streams]

    @classmethod
    async def seen_at(cls, context: Context, id: UUID, argument: str, given: MomentInput) -> Self | None:
        """The thing as its events say it was at the moment that the argument names."""
        at = moment(argument, given, context.head)
        with named_by(argument):
            return cls.seen(await context.store.state_at(id, at, context.reads), at)

    @classmethod
    async def found(cls, context: Context, id: str, at: MomentInput | None) -> Self | None:
        """The thing that a query asks for by its id, now or at a moment."""
        stream_id = identifier("id", id)
        if at is not None:
            return await cls.seen_at(context, stream_id, "at", at)
        return cls.seen(await context.loaders.only(cls.stream_type, stream_id))

    async def neighbour(self, context: Context, kind: type[T], id: UUID) -> T:
        """The other thing that this one belongs to, as of the same moment. Raises NotFound, for it cannot be missing."""
        neighbour = kind.seen(await context.loaders.stream(kind.stream_type, id, self.moment), self.moment)
        if neighbour is None:
            raise NotFound(kind.stream_type.lower(), id)
        return neighbour

    async def neighbours(self, context: Context, kind: type[T], ids: Iterable[UUID]) -> list[T]:
        """The other things that this one names, as of the same moment."""
        asked = [context.loaders.stream(kind.stream_type, id, self.moment) for id in ids]
        return [neighbour for each in asked if (neighbour := kind.seen(await each, self.moment))]
