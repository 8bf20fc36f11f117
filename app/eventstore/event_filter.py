"""Which events of the log: a filter, and the statements that find what it lets through.

They are put together as text: SQLAlchemy takes as long to compose one of these as PostgreSQL to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from app.eventstore.recorded import RecordedEvent
from app.eventstore.tables import EVENTS
from app.eventstore.watermarks import FOREVER

COLUMNS = ", ".join(column.name for column in EVENTS.columns)

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL with $1, $2 …, and their values."""

Bind: TypeAlias = Callable[[Any], str]
"""Makes a value a parameter of a statement, and tells how it is written there."""

OF_THE_STREAM = "(SELECT {column} FROM es.streams WHERE stream_id = {id})"


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of the log: those that meet every given condition."""

    types: tuple[str, ...] | None = None
    tenant_id: UUID | None = None
    stream_id: UUID | None = None
    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    occurred_after: datetime | None = None
    """At this moment or later."""
    occurred_before: datetime | None = None
    """Before this moment."""
    from_position: int | None = None
    to_position: int | None = None
    up_to_version: int | None = None

    @property
    def key(self) -> str:
        """The column that orders the events. Within a stream versions have the order of positions, and an index of their own."""
        return "version" if self.stream_id else "position"

    def narrowed(self, first: int, last: int) -> EventFilter:
        """The same, between two positions, both included."""
        return msgspec.structs.replace(
            self,
            from_position=max(first, self.from_position or first),
            to_position=last if self.to_position is None else min(last, self.to_position),
        )

    def lets_through(self, recorded: RecordedEvent) -> bool:
        """Whether an event meets every condition: the same as the query's conditions, for an event that was read already."""
        between = (
            (self.occurred_after is None or recorded.occurred_at >= self.occurred_after)
            and (self.occurred_before is None or recorded.occurred_at < self.occurred_before)
            and (self.from_position is None or recorded.position >= self.from_position)
            and (self.to_position is None or recorded.position <= self.to_position)
            and (self.up_to_version is None or recorded.version <= self.up_to_version)
        )
        return (
            between
            and (self.types is None or recorded.type in self.types)
            and self.tenant_id in (None, recorded.tenant_id)
            and self.stream_id in (None, recorded.stream_id)
            and all(recorded.metadata.get(key) == value for key, value in self.named_in_metadata())
        )

    def named_in_metadata(self) -> Iterator[tuple[str, str]]:
        """The conditions on metadata: key and value."""
        for key, value in (
            ("actor", self.actor),
            ("correlationId", self.correlation_id),
            ("causationId", self.causation_id),
        ):
            if value is not None:
                yield key, value


def counting(filter: EventFilter) -> Statement:
    """What counts the events that the filter lets through."""
    values, bind = _parameters()
    return f"SELECT count(*) FROM es.events AS event WHERE {' AND '.join(_conditions(filter, bind)) or 'true'}", values


def first_events(
    filter: EventFilter, *, above: int | None = None, below: int | None = None, descending: bool = False, limit: int
) -> Statement:
    """What finds the first events that the filter lets through whose key is above one value and below another."""
    if filter.types and not filter.stream_id and not any(filter.named_in_metadata()):
        low = max(above or 0, (filter.from_position or 1) - 1)
        high = min(FOREVER if below is None else below, FOREVER if filter.to_position is None else filter.to_position + 1)
        return _first_of_types(filter, filter.types, low, high, descending=descending, limit=limit)
    values, bind = _parameters()
    conditions = [*_conditions(filter, bind)]
    conditions += [] if above is None else [f"event.{filter.key} > {bind(above)}"]
    conditions += [] if below is None else [f"event.{filter.key} < {bind(below)}"]
    where, order = " AND ".join(conditions) or "true", f"{filter.key}{' DESC' if descending else ''}"
    return f"SELECT {COLUMNS} FROM es.events AS event WHERE {where} ORDER BY {order} LIMIT {bind(limit)}", values


def _first_of_types(filter: EventFilter, types: Iterable[str], low: int, high: int, *, descending: bool, limit: int) -> Statement:
    """Of several types the first of the first ones of each: an index has the events of one type in their order.

    Conditions and order are to the letter those of that index, and the limit is no parameter. That leaves PostgreSQL nothing
    to choose by what it expects: for a type that is rarer than it thinks it would go along the whole log. So it may keep the
    plan, which takes as long to make as the page.
    """
    values, bind = _parameters()
    after, before = bind(low), bind(high)
    rest = msgspec.structs.replace(filter, types=None, from_position=None, to_position=None)
    more = [*_conditions(rest, bind)]
    way = " DESC" if descending else ""

    def of_one(type: str) -> str:
        given = bind(type)
        where = [f"(type, position) > ({given}, {after})", f"(type, position) < ({given}, {before})", *more]
        order = f"ORDER BY type{way}, position{way} LIMIT {limit}"
        return f"SELECT {COLUMNS} FROM es.events AS event WHERE {' AND '.join(where)} {order}"

    first, *others = map(of_one, dict.fromkeys(types))
    if not others:
        return first, values
    of_each = " UNION ALL ".join(f"({query})" for query in (first, *others))
    return f"SELECT * FROM ({of_each}) AS firsts ORDER BY position{way} LIMIT {limit}", values


def _parameters() -> tuple[list[Any], Bind]:
    """The values of a statement's parameters, which grow as they are bound."""
    values: list[Any] = []

    def bind(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    return values, bind


def _conditions(filter: EventFilter, bind: Bind) -> Iterator[str]:
    if filter.types is not None:  # one type is compared by =, for which the index on type gives the order of positions too
        one = len(filter.types) == 1
        yield f"event.type = {bind(filter.types[0])}" if one else f"event.type = ANY ({bind(list(filter.types))})"
    if filter.tenant_id is not None:
        yield f"event.tenant_id = {bind(filter.tenant_id)}"
    if filter.stream_id is not None:
        id = bind(filter.stream_id)
        yield f"event.stream_id = {id}"
        first, last, version = (
            OF_THE_STREAM.format(column=column, id=id) for column in ("first_position", "last_position", "version")
        )
        yield f"event.position BETWEEN {first} AND {last}"
        # True of all of them; but PostgreSQL then expects few, and does not look up the span of positions in an index as well.
        yield f"event.version BETWEEN 1 AND {version}"
    for key, value in filter.named_in_metadata():  # the key is no parameter: the index is on the expression with this text
        yield f"event.metadata ->> '{key}' = {bind(value)}"
    if filter.occurred_after is not None:
        yield f"event.occurred_at >= {bind(filter.occurred_after)}"
    if filter.occurred_before is not None:
        yield f"event.occurred_at < {bind(filter.occurred_before)}"
    if filter.from_position is not None:
        yield f"event.position >= {bind(filter.from_position)}"
    if filter.to_position is not None:
        yield f"event.position <= {bind(filter.to_position)}"
    if filter.up_to_version is not None:
        yield f"event.version <= {bind(filter.up_to_version)}"
