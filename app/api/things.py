"""Finding anything by its id alone: Relay's node and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import strawberry

from app.api.context import Context, Info
from app.api.event_types import Event, event
from app.api.fields import field, reads
from app.api.moments import At, moment
from app.api.node import Id, Node, Thing, identifier, identifiers
from app.errors import BadInput
from app.eventstore.moment import named_by
from app.security.permissions import EVENT_READ, USER_READ, needs

MOST_IDS = 100

Ids = Annotated[list[strawberry.ID], strawberry.argument(description=f"Up to {MOST_IDS} ids.")]


@strawberry.type
class NodeQueries:
    @field(
        "Whatever has this id: a user, a role, a tenant or an event; null when nothing has. An event is the same "
        "at every moment.",
        reads("users", "roles", "tenants", statements=2),
        needs(USER_READ, own="id"),
    )
    async def node(self, info: Info, id: Id, at: At = None) -> Node | None:
        node_id = identifier("id", id)
        if at is not None:
            then = moment("at", at, info.context.head)
            with named_by("at"):
                stream = await info.context.store.state_at(node_id, then, info.context.reads)
            if stream is not None:
                return Thing.of_type[stream.type].seen(stream, then)
            return next(iter(await _events(info.context, [node_id])), None)
        return (await _nodes(info.context, [node_id]))[0]

    @field(
        "Whatever has these ids, in their order; null in the place of an id that nothing has.",
        reads("users", "roles", "tenants", statements=2),
        needs(USER_READ),
    )
    async def nodes(self, info: Info, ids: Ids) -> list[Node | None]:
        if len(ids) > MOST_IDS:
            raise BadInput("ids", f"takes up to {MOST_IDS} ids, not {len(ids)}")
        return await _nodes(info.context, identifiers("ids", ids))


async def _events(context: Context, ids: Sequence[UUID]) -> list[Event]:
    """Those of the events that there are; to a caller who may not read events there are none."""
    if not ids or not context.caller.may(EVENT_READ):
        return []
    return [event(recorded) for recorded in await context.store.events_by_id(ids, context.reads)]


async def _nodes(context: Context, ids: Sequence[UUID]) -> list[Node | None]:
    streams = await context.store.stream_types(ids, context.reads)
    asked = {id: context.loaders.stream(type, id, None) for id, (type, _tenant) in streams.items()}
    found: dict[UUID, Node | None] = {id: Thing.of_type[streams[id][0]].seen(await each) for id, each in asked.items()}
    rest = [id for id in ids if id not in streams]
    found |= {each.recorded.event_id: each for each in await _events(context, rest)}
    return [found.get(id) for id in ids]
