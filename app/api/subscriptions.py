"""What can be subscribed to: events, a user, the rebuilds of read tables."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated
from uuid import UUID

import msgspec
import strawberry

from app.api.broadcasts import Root, Source
from app.api.context import Context, Info
from app.api.event_types import Event, event
from app.api.events import Filter, event_filter
from app.api.fields import subscription
from app.api.node import Id, identifier
from app.api.projections import Rebuild, of_progress
from app.api.scalars import Position
from app.api.users import User
from app.domain.user import USER
from app.errors import BadInput, NotFound
from app.eventstore.event_filter import EventFilter
from app.eventstore.feed import Feed
from app.eventstore.moment import Moment
from app.security.permissions import EVENT_READ, OVER_PROJECTIONS, USER_READ, needs
from projections import rebuilds
from projections.rebuilds import RebuildProgress

LOOK = 0.5
"""Seconds between two looks at the rebuilds."""


class Happenings:
    """The events after a position that a filter lets through: those that the log holds, then new ones."""

    def __init__(self, feed: Feed, filter: EventFilter, after: int | None) -> None:
        self._feed = feed
        self._filter = filter
        self._after = after

    async def begin(self) -> tuple[Sequence[Root], int]:
        return [], await self._feed.end() if self._after is None else self._after

    async def after(self, place: int) -> tuple[Sequence[Root], int | None]:
        events, end = await self._feed.after(place, self._filter)
        last = self._filter.to_position
        return [(each.position, partial(event, each)) for each in events], None if last is not None and end >= last else end


class Life:
    """One user: now, and right after each event from now on."""

    def __init__(self, context: Context, id: UUID) -> None:
        self._feed = context.backend.feed
        self._store = context.store
        self._id = id

    async def begin(self) -> tuple[Sequence[Root], int]:
        stream = await self._store.load(self._id)
        if stream is None or stream.type != USER.stream_type:
            raise NotFound("user", self._id)
        return [(stream.position, partial(User.seen, stream))], stream.position

    async def after(self, place: int) -> tuple[Sequence[Root], int | None]:
        events, end = await self._feed.after(place, EventFilter(stream_id=self._id))
        return [(each.position, partial(self._seen_after, each.position)) for each in events], end

    async def _seen_after(self, position: int) -> User | None:
        return User.seen(await self._store.state_at(self._id, Moment(position=position)))


class Progress:
    """The rebuilds of read tables, whenever one has got further, until none is under way. A place tells how far they were."""

    def __init__(self, context: Context, projection: str | None) -> None:
        self._database = context.backend.store.database
        self._projection = projection

    async def begin(self) -> tuple[Sequence[Root], int]:
        newest = await self._newest()
        return _told(newest), _mark(newest)

    async def after(self, place: int) -> tuple[Sequence[Root], int | None]:
        newest = await self._newest()
        while _mark(newest) == place:
            if all(each.ended_at for each in newest):
                return [], None
            await asyncio.sleep(LOOK)
            newest = await self._newest()
        return _told(newest), _mark(newest)

    async def _newest(self) -> list[RebuildProgress]:
        found = await rebuilds.progress_of_all(self._database)
        return [each for each in found if self._projection in (None, each.projection)]


def _told(newest: Sequence[RebuildProgress]) -> list[Root]:
    return [(each.target, partial(RebuildProgressed, progress=each)) for each in newest]


def _mark(newest: Sequence[RebuildProgress]) -> int:
    """A number that changes whenever one of them gets further; their rates change all the time."""
    return hash(tuple((each.projection, each.generation, each.phase, each.done, each.ended_at) for each in newest))


@strawberry.type(name="RebuildProgress", description="How far the newest rebuild of a read table is, or how it ended.")
class RebuildProgressed(Rebuild):
    projection: str = of_progress("The read table, such as `users`.")


After = Annotated[
    Position | None,
    strawberry.argument(
        description="The position of the last event that was seen: what came after it is told first, then what is new. Only "
        "what is new, when not given. In a variable, so that subscribers who differ in nothing else share the work."
    ),
]
WhichProjection = Annotated[str | None, strawberry.argument(description="The read table, such as `users`; all when not given.")]


@strawberry.type(description="Everything that can be followed, over a WebSocket or server-sent events.")
class Subscription:
    @subscription(
        "Events in the order of the log, each exactly once: first those after a position, then each new one when it has "
        "happened. It ends after `filter.toPosition`.",
        Event,
        needs=needs(EVENT_READ),
    )
    def events(self, info: Info, filter: Filter = None, after: After = None) -> Source:
        wanted = within(info.context, event_filter(filter))
        if wanted.from_position is not None:
            after = Position(max(after or 0, wanted.from_position - 1))
        return Happenings(info.context.backend.feed, wanted, after)

    @subscription("A user as they are, and again after each change.", User, needs=needs(USER_READ, own="id"))
    def user(self, info: Info, id: Id) -> Source:
        return Life(info.context, identifier("id", id))

    @subscription(
        "The newest rebuild of a read table, or of each, and again whenever it has got further; ends when none is under way.",
        RebuildProgressed,
        needs=OVER_PROJECTIONS,
    )
    def rebuild_progress(self, info: Info, projection: WhichProjection = None) -> Source:
        if projection is not None:
            info.context.backend.engine.projection(projection)
        return Progress(info.context, projection)


def within(context: Context, filter: EventFilter) -> EventFilter:
    """The filter, narrowed to what the caller may see. Raises BadInput for another tenant."""
    tenant_id = context.caller.within
    if tenant_id is None:
        return filter
    if filter.tenant_id not in (None, tenant_id):
        raise BadInput("filter.tenantId", "is not the tenant whose events you may see")
    return msgspec.structs.replace(filter, tenant_id=tenant_id)
