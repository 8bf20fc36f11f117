"""Events in the graph: the interface Event, and a type for each event that an aggregate declares, derived from its class."""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import strawberry
from strawberry.scalars import JSON

from app.api.context import Info
from app.api.fields import attribute, field, of_recorded, reads
from app.api.node import Node, Thing
from app.api.scalars import Position
from app.domain.aggregate import Aggregate
from app.domain.aggregate import Event as DomainEvent
from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.errors import BadInput
from app.eventstore.event_filter import EventFilter
from app.eventstore.paging import LARGEST_SIZE, PageRequest
from app.eventstore.recorded import RecordedEvent
from app.security.permissions import EVENT_READ, TOKEN, USER_READ, needs

if TYPE_CHECKING:
    from app.api.tenants import Tenant


@strawberry.interface(
    description="Something that happened, as the log keeps it for ever. Each kind of event is a type of its own, with fields of "
    "its own: `... on UserCreated { username }`."
)
class Event(Node):
    recorded: strawberry.Private[RecordedEvent]

    id: strawberry.ID = attribute("recorded", "The event's own UUID.", name="event_id")
    type: str = of_recorded("Which kind of event: the name of its type in this schema.")
    schema_version: int = of_recorded("The version of the data in which it was stored. It is shown in the newest version.")
    position: Position = of_recorded("Its place in the whole log.")
    version: int = of_recorded("Its place among the events of its stream: 1, 2, 3, …")
    stream_id: strawberry.ID = of_recorded("The id of the thing that it happened to.")
    stream_type: str = of_recorded("The kind of thing that it happened to: User, Role or Tenant.")
    occurred_at: datetime = of_recorded("When it happened.")
    recorded_at: datetime = of_recorded("When the log took it. Imported history was recorded later than it occurred.")

    @field("The thing that it happened to, as it is now.", reads("users", "roles", "tenants"), needs(USER_READ))
    async def subject(self, info: Info) -> Node | None:
        stream = await info.context.loaders.stream(self.recorded.stream_type, self.recorded.stream_id, None)
        return Thing.of_type[self.recorded.stream_type].seen(stream)

    @field("The tenant that it belongs to, as it is now.", reads("tenants"), TOKEN)
    async def tenant(self, info: Info) -> Annotated[Tenant, strawberry.lazy("app.api.tenants")] | None:
        stream = await info.context.loaders.stream(TENANT.stream_type, self.recorded.tenant_id, None)
        return Thing.of_type[TENANT.stream_type].seen(stream)  # type: ignore[return-value]  # a Tenant

    @field("Who caused it.")
    def actor(self) -> str | None:
        return self.recorded.metadata.get("actor")

    @field("What the request that caused it was part of: all events of one piece of work share it.")
    def correlation_id(self) -> str | None:
        return self.recorded.metadata.get("correlationId")

    @field("The event or message that led to it.")
    def causation_id(self) -> str | None:
        return self.recorded.metadata.get("causationId")

    @field(
        "What led to it: the event that caused it, the one that caused that, and so on, the nearest first.",
        reads(),
        needs(EVENT_READ),
    )
    async def causes(self, info: Info) -> list[Event]:
        return [event(recorded) for recorded in await info.context.store.causes(self.recorded, info.context.reads)]

    @field(
        "What it led to: the events that name it as their cause, the oldest first; the first 100 of them.",
        reads(),
        needs(EVENT_READ),
    )
    async def effects(self, info: Info) -> list[Event]:
        caused = EventFilter(causation_id=str(self.recorded.event_id))
        request = PageRequest.checked(LARGEST_SIZE, None, None, None)
        page = await info.context.store.events(caused, request, newest_first=False, reads=info.context.reads)
        return [event(recorded) for recorded in page.items]

    @field("The network address that the request came from.")
    def ip_address(self) -> str | None:
        return self.recorded.metadata.get("ipAddress")

    @field("The program that sent the request, as it called itself.")
    def user_agent(self) -> str | None:
        return self.recorded.metadata.get("userAgent")

    @field("All data of the event, whatever its kind.")
    def data(self) -> JSON:
        return JSON(msgspec.to_builtins(self.recorded.event))


def event(recorded: RecordedEvent) -> Event:
    """The face of a recorded event: an object of its own kind's type."""
    return _FACES[type(recorded.event)](recorded=recorded)


def known_types(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names of kinds of events that a client gave. Raises BadInput that lists those known, if one is not."""
    known = [declared.__name__ for declared in _FACES]
    for name in names:
        if name not in known:
            raise BadInput(argument, f"there is no event type {name!r}; there are {', '.join(known)}")
    return tuple(names)


def _derived(declared: type[DomainEvent]) -> type[Event]:
    """The type of one kind of event: the interface's fields, and the declared ones with their descriptions."""
    hints = {field.name: get_type_hints(declared, include_extras=True)[field.name] for field in msgspec.structs.fields(declared)}
    members = {name: attribute("recorded.event", _description(declared, name, hint)) for name, hint in hints.items()}
    members["__annotations__"] = {name: _graph_type(hint) for name, hint in hints.items()}
    face = types.new_class(declared.__name__, (Event,), exec_body=lambda namespace: namespace.update(members))
    return strawberry.type(face, description=declared.__doc__)


def _graph_type(hint: Any) -> Any:
    """`tuple[UUID, ...]` becomes `[ID!]!`, `Annotated[str | None, …]` becomes `String`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _graph_type(arguments[0])
    if origin in (Union, types.UnionType):
        (given,) = (each for each in arguments if each is not type(None))
        return _graph_type(given) | None
    if origin is tuple:
        return list[_graph_type(arguments[0])]  # type: ignore[misc]  # known at run time only
    return strawberry.ID if hint is UUID else hint


def _description(declared: type[DomainEvent], name: str, hint: Any) -> str:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, msgspec.Meta) and extra.description:
            return extra.description
    raise TypeError(f"{declared.__name__}.{name} needs Annotated[…, msgspec.Meta(description=…)]: the API shows it")


def _faces(aggregates: Iterable[Aggregate[Any, Any, Any]]) -> dict[type[DomainEvent], type[Event]]:
    return {declared: _derived(declared) for aggregate in aggregates for declared in aggregate.events}


_FACES = _faces((USER, ROLE, TENANT))
EVENT_TYPES = tuple(_FACES.values())
