"""The time machine on the terminal: `hindsight user`, `history`, `diff`, `blame`, `events` and `stats`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer

from app.commands import Json, settings_of, show
from app.errors import BadInput, NotFound
from app.eventstore.moment import check_span, named_by

if TYPE_CHECKING:
    from app.domain.aggregate import Stream
    from app.eventstore.moment import Moment
    from app.eventstore.recorded import RecordedEvent
    from app.wiring import Service

ANYTHING = ("value", "before", "after", "data")
"""Columns with values of any type."""

history_app = typer.Typer()

Id = Annotated[UUID, typer.Argument(help="The id of a user, a role or a tenant.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="MOMENT", help="A version such as 3, a position such as @1234, or a time such as 2021-03-01."),
]
Zone = Annotated[
    str | None, typer.Option("--zone", metavar="ZONE", help="Of times read and shown, such as Europe/Berlin; your own if absent.")
]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1)]


class Field(msgspec.Struct, frozen=True):
    """A field of something."""

    field: str
    value: Any


class Line(msgspec.Struct, frozen=True):
    """What a list shows of an event."""

    position: int
    version: int
    occurred_at: datetime
    type: str
    stream: UUID
    actor: str | None
    data: Any


class Change(msgspec.Struct, frozen=True):
    """What a diff shows of a change."""

    field: str
    before: Any
    after: Any
    version: int
    occurred_at: datetime
    actor: str | None


class Blame(msgspec.Struct, frozen=True):
    """What blame shows of a field."""

    field: str
    value: Any
    since: datetime
    actor: str | None
    type: str
    version: int
    correlation: str | None


class Count(msgspec.Struct, frozen=True):
    """How many events of a type there are."""

    type: str
    events: int


@history_app.command()
def user(ctx: typer.Context, id: Id, at: At = None, zone: Zone = None, as_json: Json = False) -> None:
    """Show a user, a role or a tenant as it is, or as it was at a moment."""
    from app.eventstore.timeline import camel

    def fields(stream: Stream[Any]) -> list[Field]:
        place = {"id": stream.id, "tenantId": stream.tenant_id, "version": stream.version, "position": stream.position}
        state = {camel(name): getattr(stream.state, name) for name in stream.state.__struct_fields__}
        return [Field(name, value) for name, value in (place | state).items()]

    found = fields(_asked(ctx, lambda service: _stream(service, id, at, zone)))
    _show({each.field: each.value for each in found} if as_json else found, as_json, zone)


@history_app.command()
def history(ctx: typer.Context, id: Id, at: At = None, limit: Limit = 1_000, zone: Zone = None, as_json: Json = False) -> None:
    """List the events of a user, a role or a tenant, the oldest first; with --at those up to a moment."""

    async def work(service: Service) -> list[RecordedEvent]:
        last = (await _stream(service, id, at, zone)).version
        return await service.store.stream_events(id, 1, min(last, limit))

    _show([_line(recorded) for recorded in _asked(ctx, work)], as_json, zone)


@history_app.command()
def diff(
    ctx: typer.Context,
    id: Id,
    since: Annotated[
        str | None, typer.Option("--from", metavar="MOMENT", help="As for --at elsewhere; the beginning if absent.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="MOMENT", help="As for --at elsewhere; now if absent.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Every change on the way, instead of what differs in the end.")] = False,
    zone: Zone = None,
    as_json: Json = False,
) -> None:
    """Show in which fields a user, a role or a tenant differs between two moments, and who changed each last."""
    from app.eventstore import timeline

    async def work(service: Service) -> list[timeline.FieldChange]:
        aggregate = service.store.codec.aggregates[(await _stream(service, id, None, zone)).type]
        first, last = await _moment(service, "from", since, zone), await _moment(service, "to", until, zone)
        before, events = await service.store.between(id, first, last)
        found = timeline.changes(aggregate, events, before.state if before else None)
        return found if steps else timeline.net(found)

    _show([_change(each) for each in _asked(ctx, work)], as_json, zone)


@history_app.command()
def blame(ctx: typer.Context, id: Id, at: At = None, zone: Zone = None, as_json: Json = False) -> None:
    """Show for each field of a user, a role or a tenant which event set it, when, and who caused that."""
    from app.eventstore import timeline

    async def work(service: Service) -> list[timeline.FieldBlame]:
        stream = await _stream(service, id, at, zone)
        events = await service.store.stream_events(id, 1, stream.version)
        return timeline.blame(service.store.codec.aggregates[stream.type], events)

    _show([_blame(each) for each in _asked(ctx, work)], as_json, zone)


@history_app.command()
def events(
    ctx: typer.Context,
    types: Annotated[list[str] | None, typer.Option("--type", help="Of this type; may be given several times.")] = None,
    tenant: Annotated[UUID | None, typer.Option(help="Of this tenant.")] = None,
    actor: Annotated[str | None, typer.Option(help="Caused by this person or program.")] = None,
    correlation: Annotated[str | None, typer.Option(help="Part of this piece of work.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="That occurred at this time or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="That occurred before this time.")] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The newest come first otherwise.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100)] = 20,
    zone: Zone = None,
    as_json: Json = False,
) -> None:
    """List events of the whole log."""
    from app.eventstore.event_filter import EventFilter
    from app.eventstore.paging import PageRequest

    first, last = _span(since, until, zone)
    filter = EventFilter(
        types=tuple(types) if types else None,
        tenant_id=tenant,
        actor=actor,
        correlation_id=correlation,
        occurred_after=first,
        occurred_before=last,
    )

    async def work(service: Service) -> list[RecordedEvent]:
        return (await service.store.events(filter, PageRequest(first=limit), newest_first=not oldest_first)).items

    _show([_line(recorded) for recorded in _asked(ctx, work)], as_json, zone)


@history_app.command()
def stats(
    ctx: typer.Context,
    tenant: Annotated[UUID | None, typer.Option(help="Of this tenant only.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="DAY", help="That occurred on this day (UTC) or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DAY", help="That occurred on this day or earlier.")] = None,
    as_json: Json = False,
) -> None:
    """Count the events of each type, as far as the read table is."""
    from projections.event_stats import EventStatsFilter, by_type

    first, last = (None if day is None else day.date() for day in _span(since, until, "UTC"))
    filter = EventStatsFilter(tenant_id=tenant, from_day=first, to_day=last)

    async def work(service: Service) -> dict[str, int]:
        await service.engine.prepare()
        return await by_type(service.database, filter)

    counted = _asked(ctx, work)
    show([Count(type, events) for type, events in counted.items()], as_json)


def moment(option: str, text: str | None, zone: str | None) -> Moment | None:
    """What an option says: 3 is a version, @1234 a position, anything else a time. Raises BadInput."""
    from app.eventstore.moment import Moment

    if text is None:
        return None
    if text.isdecimal():
        return Moment(version=int(text))
    if text.startswith("@") and text[1:].isdecimal():
        return Moment(position=int(text[1:]))
    return Moment(timestamp=time(option, text, zone))


def time(option: str, text: str, zone: str | None) -> datetime:
    """The time that a person means, such as 2021-03-01T12:00Z or `3 days ago`. Raises BadInput."""
    import dateparser

    settings: Any = {"RETURN_AS_TIMEZONE_AWARE": True, "PREFER_DATES_FROM": "past"}
    if zone is not None:
        settings["TIMEZONE"] = _zone(zone).key
    found = dateparser.parse(text, languages=["en"], settings=settings)
    if found is None:
        raise BadInput(option, f"{text!r} is no moment: give a version such as 3, a position such as @1234, or a time")
    return found


def _span(since: str | None, until: str | None, zone: str | None) -> tuple[datetime | None, datetime | None]:
    """What the options --from and --to mean. Raises BadInput, also when the one is after the other."""
    first, last = (None if text is None else time(option, text, zone) for option, text in (("from", since), ("to", until)))
    check_span("from", first, "to", last)
    return first, last


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput("zone", f"there is no time zone {name!r}; one is Europe/Berlin") from None


def _asked(ctx: typer.Context, work: Any) -> Any:
    from app.process import with_service

    return with_service(settings_of(ctx), work)


async def _moment(service: Service, option: str, text: str | None, zone: str | None) -> Moment | None:
    """What an option says, when the log has reached it. Raises BadInput."""
    said = moment(option, text, zone)
    if said is not None:
        said.check_reached(option, await service.store.head())
    return said


async def _stream(service: Service, id: UUID, at: str | None, zone: str | None) -> Stream[Any]:
    """Raises NotFound for what does not exist, or did not, and BadInput for a moment that is none."""
    then = await _moment(service, "at", at, zone)
    with named_by("at"):
        stream = await (service.store.load(id) if then is None else service.store.state_at(id, then))
    if stream is None:
        raise NotFound("user, role or tenant", id if then is None else f"{id} at that moment")
    return stream


def _line(recorded: RecordedEvent) -> Line:
    return Line(
        position=recorded.position,
        version=recorded.version,
        occurred_at=recorded.occurred_at,
        type=recorded.type,
        stream=recorded.stream_id,
        actor=recorded.metadata.get("actor"),
        data=msgspec.to_builtins(recorded.event),
    )


def _change(change: Any) -> Change:
    recorded = change.recorded
    actor = recorded.metadata.get("actor")
    return Change(change.field, change.before, change.after, recorded.version, recorded.occurred_at, actor)


def _blame(blame: Any) -> Blame:
    recorded = blame.recorded
    who, why = recorded.metadata.get("actor"), recorded.metadata.get("correlationId")
    return Blame(blame.field, blame.value, recorded.occurred_at, who, recorded.type, recorded.version, why)


def _show(result: Any, as_json: bool, zone: str | None) -> None:
    """Times are in UTC for programs, and in the zone for people."""
    show(result if as_json else [_for_people(row, zone) for row in result], as_json)


def _for_people(row: msgspec.Struct, zone: str | None) -> msgspec.Struct:
    own = None if zone is None else _zone(zone)

    def told(name: str) -> Any:
        value = getattr(row, name)
        if isinstance(value, datetime):
            return value.astimezone(own).isoformat(sep=" ", timespec="seconds")
        if value is None or isinstance(value, str) or name not in ANYTHING:
            return value
        return str(value) if isinstance(value, UUID) else msgspec.json.encode(value).decode()

    return msgspec.structs.replace(row, **{name: told(name) for name in row.__struct_fields__})
