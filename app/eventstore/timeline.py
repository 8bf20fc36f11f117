"""What each event of a stream changed: the fields of its state before and after, and who set each of them last. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.domain.aggregate import Aggregate
from app.eventstore.recorded import RecordedEvent


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a state, before an event and after it. A field of what does not exist yet is None."""

    field: str
    """In camelCase, as in the event's data and in the API."""
    before: Any
    after: Any
    recorded: RecordedEvent


class FieldBlame(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a state, and the event that gave it its value; for one never set, the event that began the stream."""

    field: str
    value: Any
    recorded: RecordedEvent


def changes(aggregate: Aggregate[Any, Any, Any], events: Iterable[RecordedEvent], state: Any = None) -> list[FieldChange]:
    """Every change of a field that people see, in the order of the events, which follow on `state`."""
    found, before = list[FieldChange](), _values(aggregate, state)
    for recorded in events:
        state = aggregate.evolve(state, recorded.event, recorded.occurred_at)
        after = _values(aggregate, state)
        found += (
            FieldChange(field=camel(name), before=before[name], after=after[name], recorded=recorded)
            for name in aggregate.shown
            if before[name] != after[name]
        )
        before = after
    return found


def net(changes: Sequence[FieldChange]) -> list[FieldChange]:
    """What changes one after the other come to: each field that differs once, with the event that changed it last."""
    first: dict[str, FieldChange] = {}
    last: dict[str, FieldChange] = {}
    for change in changes:
        first.setdefault(change.field, change)
        last[change.field] = change
    joined = (msgspec.structs.replace(change, before=first[field].before) for field, change in last.items())
    return [change for change in joined if change.before != change.after]


def differences(aggregate: Aggregate[Any, Any, Any], before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    """The fields that people see in which two states differ, each with its values; a state may be None."""
    one, other = _values(aggregate, before), _values(aggregate, after)
    return [(camel(name), one[name], other[name]) for name in aggregate.shown if one[name] != other[name]]


def blame(aggregate: Aggregate[Any, Any, Any], events: Sequence[RecordedEvent]) -> list[FieldBlame]:
    """Of all events of a stream, at least one, the last that changed each field that people see."""
    last = {change.field: change for change in changes(aggregate, events)}
    return [
        FieldBlame(field=field, value=last[field].after, recorded=last[field].recorded)
        if field in last
        else FieldBlame(field=field, value=None, recorded=events[0])
        for field in map(camel, aggregate.shown)
    ]


def camel(name: str) -> str:
    """full_name to fullName."""
    first, *others = name.split("_")
    return "".join((first, *map(str.capitalize, others)))


def _values(aggregate: Aggregate[Any, Any, Any], state: Any) -> dict[str, Any]:
    return {name: None if state is None else getattr(state, name) for name in aggregate.shown}
