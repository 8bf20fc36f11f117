"""The log in the graph: one event, all events, and the history of one thing."""

from __future__ import annotations

import enum
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
import strawberry

from app.api.connections import After, Before, Connection, First, Last
from app.api.context import Context, Info
from app.api.event_types import Event, event, known_types
from app.api.fields import field, reads
from app.api.node import Id, Thing, identifier
from app.api.scalars import Position
from app.eventstore.event_filter import EventFilter
from app.eventstore.moment import check_span
from app.eventstore.paging import PageRequest
from app.security.permissions import EVENT_READ, TOKEN, needs


@strawberry.enum(description="In which order events come.")
class EventOrder(enum.Enum):
    NEWEST_FIRST = strawberry.enum_value("newest first", description="By position in the log, the highest first.")
    OLDEST_FIRST = strawberry.enum_value("oldest first", description="By position in the log, the lowest first.")


@strawberry.input(name="EventFilter", description="Which events to list: those that meet every given condition.")
class EventFilterInput:
    types: list[str] | None = strawberry.field(default=None, description="Of one of these kinds, such as `UserCreated`.")
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="Of this tenant.")
    stream_id: strawberry.ID | None = strawberry.field(default=None, description="Of the user, role or tenant with this id.")
    actor: str | None = strawberry.field(default=None, description="Caused by this person or program.")
    correlation_id: str | None = strawberry.field(default=None, description="Part of this piece of work.")
    causation_id: str | None = strawberry.field(default=None, description="Led to by this event or message.")
    occurred_after: datetime | None = strawberry.field(
        default=None, description="That occurred at this moment or later: no later than `occurredBefore`."
    )
    occurred_before: datetime | None = strawberry.field(default=None, description="That occurred before this moment.")
    from_position: Position | None = strawberry.field(
        default=None, description="At this position of the log or after it: no later than `toPosition`."
    )
    to_position: Position | None = strawberry.field(default=None, description="At this position of the log or before it.")


Filter = Annotated[EventFilterInput | None, strawberry.argument(description="Which events; all when not given.")]
Order = Annotated[EventOrder, strawberry.argument(description="In which order.")]


def event_filter(given: EventFilterInput | None) -> EventFilter:
    """The store's filter. Raises BadInput for an id that is none, an unknown type, and a span that ends before it starts."""
    if given is None:
        return EventFilter()
    check_span("filter.occurredAfter", given.occurred_after, "occurredBefore", given.occurred_before)
    check_span("filter.fromPosition", given.from_position, "toPosition", given.to_position)
    return EventFilter(
        types=None if given.types is None else known_types("filter.types", given.types),
        tenant_id=None if given.tenant_id is None else identifier("filter.tenantId", given.tenant_id),
        stream_id=None if given.stream_id is None else identifier("filter.streamId", given.stream_id),
        actor=given.actor,
        correlation_id=given.correlation_id,
        causation_id=given.causation_id,
        occurred_after=given.occurred_after,
        occurred_before=given.occurred_before,
        from_position=given.from_position,
        to_position=given.to_position,
    )


async def events_page(context: Context, filter: EventFilter, order: EventOrder, request: PageRequest) -> Connection[Event]:
    """One page of the events that the filter lets through."""
    page = await context.store.events(filter, request, newest_first=order is EventOrder.NEWEST_FIRST, reads=context.reads)
    return Connection(
        page=page,
        nodes=[event(recorded) for recorded in page.items],
        counting=partial(context.store.count, filter, context.reads),
    )


@strawberry.type
class Remembered(Thing):
    """A thing that shows its events."""

    @field(
        "The events that made it what it is here: everything that ever happened to it, or happened up to the moment "
        "as of which it is shown.",
        reads(timeless=True),
        needs(EVENT_READ),
    )
    async def history(
        self,
        info: Info,
        filter: Filter = None,
        order: Order = EventOrder.OLDEST_FIRST,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Event]:
        shown = msgspec.structs.replace(
            event_filter(filter), stream_id=self.stream.id, up_to_version=self.stream.version if self.moment else None
        )
        return await events_page(info.context, shown, order, PageRequest.checked(first, after, last, before))

    @field(
        "Whether this is less than what happened: an event could not be folded into the read table, and waits with those that "
        "came later; `deadLetters` tells why. What is folded from the log itself, as by `at`, is never incomplete.",
        reads(),
        TOKEN,
    )
    async def incomplete(self, info: Info) -> bool:
        waiting = await info.context.loaders.waiting(self.stream_type, self.stream.id)
        return waiting is not None and waiting.is_lacked_by(self.stream, self.moment)


@strawberry.type
class EventQueries:
    @field("One event by its id; null when there is none.", reads(), needs(EVENT_READ))
    async def event(self, info: Info, id: Id) -> Event | None:
        recorded = await info.context.store.event(identifier("id", id), info.context.reads)
        return event(recorded) if recorded else None

    @field("The whole log, or the part of it that a filter lets through.", reads(), needs(EVENT_READ))
    async def events(
        self,
        info: Info,
        filter: Filter = None,
        order: Order = EventOrder.NEWEST_FIRST,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Event]:
        return await events_page(info.context, event_filter(filter), order, PageRequest.checked(first, after, last, before))

    @field("The position of the newest event in the log; 0 while there is none.", reads(), TOKEN)
    async def head(self, info: Info) -> Position:
        return Position(await info.context.store.head(info.context.reads))
