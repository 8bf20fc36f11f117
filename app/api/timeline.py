"""What changed in one thing, who set each of its fields, and the proof that its read table says what its events say."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import msgspec
import strawberry
from strawberry.scalars import JSON

from app.api.context import Context, Info
from app.api.event_types import Event, event
from app.api.events import Remembered
from app.api.fields import field, reads
from app.api.moments import MomentInput, moment
from app.api.scalars import Position
from app.api.snapshots import Snapshot
from app.domain.aggregate import Aggregate, Stream
from app.errors import BadInput
from app.eventstore import timeline
from app.eventstore.moment import Moment, named_by
from app.security.permissions import EVENT_READ, needs


@strawberry.type(description="A field of something, before an event and after it.")
class FieldChange:
    field: str = strawberry.field(description="The field's name, such as `fullName`.")
    before: JSON | None = strawberry.field(description="Its value before; null also where there was nothing yet.")
    after: JSON | None = strawberry.field(description="Its value after.")
    event: Event = strawberry.field(description="The event that changed it: it says when, by whom, and as part of what.")


@strawberry.type(description="A field of something, and the event that gave it the value that it has.")
class FieldBlame:
    field: str = strawberry.field(description="The field's name, such as `fullName`.")
    value: JSON | None = strawberry.field(description="Its value.")
    since: datetime = strawberry.field(description="When it came to have that value.")
    actor: str | None = strawberry.field(description="Who set it.")
    correlation_id: str | None = strawberry.field(description="What the request that set it was part of.")
    event: Event = strawberry.field(description="The event that set it; for a field that nobody ever set, the first event.")


@strawberry.type(description="A field that the read table and the events do not agree on.")
class ReplayDifference:
    field: str = strawberry.field(description="The field's name, such as `fullName`.")
    shown: JSON | None = strawberry.field(description="What the read table says.")
    replayed: JSON | None = strawberry.field(description="What the events say.")


@strawberry.type(description="Something folded from its events alone, and compared with what the read table says.")
class Replay:
    state: JSON | None = strawberry.field(description="All fields as the events make them; null if it did not exist yet.")
    version: int = strawberry.field(
        description="The version up to which it was folded: how many events it is made of; 0 if it did not exist yet."
    )
    position: Position | None = strawberry.field(description="The place in the log of the last of them.")
    events_read: int = strawberry.field(description="How many of them were read; a snapshot stands for those before.")
    milliseconds: float = strawberry.field(description="How long reading and folding them took.")
    differences: list[ReplayDifference] = strawberry.field(
        description="Where the read table says something else at the same version; nothing in a sound directory."
    )


From = Annotated[
    MomentInput | None,
    strawberry.argument(
        name="from", description="Changes after this moment, which is not after `to`; from the beginning, when not given."
    ),
]
To = Annotated[
    MomentInput | None,
    strawberry.argument(description="Changes up to this moment; up to the one as of which the thing is shown, when not given."),
]
Net = Annotated[
    bool,
    strawberry.argument(
        description="Only what differs between the two moments: each such field once, with the event that changed it last."
    ),
]
Fields = Annotated[
    list[str] | None, strawberry.argument(description="Only of these fields, such as `roleIds`; of all, when not given.")
]
UseSnapshot = Annotated[
    bool, strawberry.argument(description="Begin with the nearest snapshot that is usable; otherwise with the first event.")
]
ReplayAt = Annotated[
    MomentInput | None,
    strawberry.argument(description="Up to this moment; up to the one as of which the thing is shown, when not given."),
]


@strawberry.type
class Audited(Remembered):
    """A thing that tells how it came to be what it is."""

    @field("What changed, field by field, in the order in which it did.", reads(statements=3), needs(EVENT_READ))
    async def changes(
        self, info: Info, from_: From = None, to: To = None, net: Net = False, fields: Fields = None
    ) -> list[FieldChange]:
        context, aggregate = info.context, info.context.store.codec.aggregates[self.stream_type]
        wanted = _known(aggregate, fields)
        since = moment("from", from_, context.head)
        until = moment("to", to, context.head) or self._own_moment
        before, events = await context.store.between(self.stream.id, since, until, context.reads)
        found = timeline.changes(aggregate, events, before.state if before else None)
        return [
            FieldChange(field=each.field, before=as_json(each.before), after=as_json(each.after), event=event(each.recorded))
            for each in (timeline.net(found) if net else found)
            if each.field in wanted
        ]

    @field("For each field the event that gave it its value: since when it is so, and by whom.", reads(), needs(EVENT_READ))
    async def blame(self, info: Info, fields: Fields = None) -> list[FieldBlame]:
        store, aggregate = info.context.store, info.context.store.codec.aggregates[self.stream_type]
        wanted = _known(aggregate, fields)
        events = await store.stream_events(self.stream.id, 1, self.stream.version, info.context.reads)
        return [
            FieldBlame(
                field=each.field,
                value=as_json(each.value),
                since=each.recorded.occurred_at,
                actor=each.recorded.metadata.get("actor"),
                correlation_id=each.recorded.metadata.get("correlationId"),
                event=event(each.recorded),
            )
            for each in timeline.blame(aggregate, events)
            if each.field in wanted
        ]

    @field(
        "The thing folded from its events, or a snapshot and the events after it, and where the read table says something else.",
        reads("users", "roles", "tenants", statements=2),
        needs(EVENT_READ),
    )
    async def replay(self, info: Info, use_snapshot: UseSnapshot = True, at: ReplayAt = None) -> Replay:
        context = info.context
        then = moment("at", at, context.head) or self._own_moment
        began = time.perf_counter()
        with named_by("at"):
            read = await context.store.states.replay(self.stream.id, then, context.reads, use_snapshot=use_snapshot)
        milliseconds = (time.perf_counter() - began) * 1000
        folded = read.stream if read else None
        return Replay(
            state=JSON(_fields(folded.state)) if folded else None,
            version=folded.version if folded else 0,
            position=Position(folded.position) if folded else None,
            events_read=read.events if read else 0,
            milliseconds=milliseconds,
            differences=await self._differences(context, folded, then) if folded else [],
        )

    @field(
        "What is kept of its states, the newest version first: all, whatever moment it is shown as of.",
        reads(),
        needs(EVENT_READ),
    )
    async def snapshots(self, info: Info) -> list[Snapshot]:
        kept = await info.context.store.states.snapshots.of_stream(self.stream.id, info.context.reads)
        return [Snapshot(kept=each) for each in kept]

    async def _differences(self, context: Context, folded: Stream[Any], at: Moment | None) -> list[ReplayDifference]:
        then = None if at is None else Moment(position=folded.position)
        shown = await context.loaders.stream(self.stream_type, self.stream.id, then)
        if shown is not None and shown.version < folded.version:  # the read table is behind, which is no difference
            earlier = await context.store.state_at(self.stream.id, Moment(version=shown.version), context.reads)
            folded = earlier or folded
        said, replayed = _fields(shown.state if shown else None), _fields(folded.state)
        return [
            ReplayDifference(field=name, shown=said.get(name), replayed=value)
            for name, value in replayed.items()
            if said.get(name) != value
        ]

    @property
    def _own_moment(self) -> Moment | None:
        return None if self.moment is None else Moment(version=self.stream.version)


def _known(aggregate: Aggregate[Any, Any, Any], given: list[str] | None) -> list[str]:
    """The fields that are asked for. Raises BadInput."""
    known = [timeline.camel(name) for name in aggregate.shown]
    for name in given or ():
        if name not in known:
            raise BadInput("fields", f"there is no field {name!r}; there are {', '.join(known)}")
    return known if given is None else given


def as_json(value: Any) -> JSON | None:
    """A field's value as the API's JSON."""
    return None if value is None else JSON(msgspec.to_builtins(value))


def _fields(state: msgspec.Struct | None) -> dict[str, Any]:
    if state is None:
        return {}
    values = {name: getattr(state, name) for name in state.__struct_fields__}
    return {timeline.camel(name): msgspec.to_builtins(value) for name, value in values.items()}
