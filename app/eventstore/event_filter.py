"""Which events of the log: a filter, and the statements that find what it lets through.

They are put together as text: SQLAlchemy takes as long to compose one of these as PostgreSQL to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from app.eventstore.narrowing import unforeseen
from app.eventstore.recorded import RecordedEvent
from app.eventstore.tables import WRITTEN
from app.eventstore.watermarks import FOREVER

COLUMNS = ", ".join(WRITTEN)

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL with $1, $2 …, and their values."""

Bind: TypeAlias = Callable[[Any], str]
"""Makes a value a parameter of a statement, and tells how it is written there."""

OF_THE_STREAM = "(SELECT {column} FROM es.streams WHERE stream_id = {id})"

IN_METADATA = {"causation_id": "causationId", "correlation_id": "correlationId", "actor": "actor"}
"""The columns that follow from an event's metadata, each with its key there; first those of which few events share a value."""


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
            and all(getattr(self, column) in (None, recorded.metadata.get(key)) for column, key in IN_METADATA.items())
        )


def counting(filter: EventFilter) -> Statement:
    """What counts the events that the filter lets through."""
    values, bind = _parameters()
    given = [column for column in IN_METADATA if getattr(filter, column) is not None]
    where = [*(f"event.{column} = {bind(getattr(filter, column))}" for column in given)]
    where += _conditions(_without(filter, *given), bind)
    return f"SELECT count(*) FROM es.events AS event WHERE {' AND '.join(where) or 'true'}", values


def first_events(
    filter: EventFilter, *, above: int | None = None, below: int | None = None, descending: bool = False, limit: int
) -> Statement:
    """What finds the first events that the filter lets through whose key is above one value and below another."""
    if filter.stream_id is not None:
        return _first_of_stream(filter, above, below, descending=descending, limit=limit)
    low = max(above or 0, (filter.from_position or 1) - 1)
    high = min(FOREVER if below is None else below, FOREVER if filter.to_position is None else filter.to_position + 1)
    by = next((column for column in IN_METADATA if getattr(filter, column) is not None), None)
    if by is None and filter.types is None:
        return _first_of_all(filter, low, high, descending=descending, limit=limit)
    return _first_of_kinds(filter, by, low, high, descending=descending, limit=limit)


def _first_of_stream(filter: EventFilter, above: int | None, below: int | None, *, descending: bool, limit: int) -> Statement:
    values, bind = _parameters()
    conditions = [*_conditions(filter, bind)]
    conditions += [] if above is None else [f"event.version > {bind(above)}"]
    conditions += [] if below is None else [f"event.version < {bind(below)}"]
    order = f"ORDER BY version{' DESC' if descending else ''} LIMIT {bind(limit)}"
    return f"SELECT {COLUMNS} FROM es.events AS event WHERE {' AND '.join(conditions)} {order}", values


def _first_of_all(filter: EventFilter, low: int, high: int, *, descending: bool, limit: int) -> Statement:
    """Along the log, or the part of it that a tenant has: there is an index in its order. The plan is made for the values."""
    values, bind = _parameters()
    first, last = bind(low), bind(high)
    where = [f"position > {first}", f"position < {last}"]
    if filter.tenant_id is not None:  # says nothing that is new, but PostgreSQL expects fewer rows for each condition
        tenant = bind(filter.tenant_id)
        where += [f"(tenant_id, position) > ({tenant}, {first})", f"(tenant_id, position) < ({tenant}, {last})"]
    where += _conditions(_without(filter, "from_position", "to_position"), bind)
    order = f"ORDER BY position{' DESC' if descending else ''} LIMIT {bind(limit)}"
    return f"SELECT {COLUMNS} FROM es.events AS event WHERE {' AND '.join(where)} {order}", values


def _first_of_kinds(filter: EventFilter, by: str | None, low: int, high: int, *, descending: bool, limit: int) -> Statement:
    """The first of the first ones of each type: an index has those of one type, of one tenant or value of `by`, in order.

    Conditions and order are to the letter those of that index, and the limit is no parameter. That leaves PostgreSQL nothing to
    choose by what it expects: for what is rarer than it thinks, or long past, it would go along the whole log. And it expects
    much the same of any values, so that it keeps the plan: to make one takes longer than to find the page.
    """
    values, bind = _parameters()
    # Of those that share a cause or a piece of work, which are few, the tenant is looked at when they are found.
    of_tenant = filter.tenant_id is not None and by in (None, "actor")
    columns = [*(["tenant_id"] if of_tenant else ()), *([by] if by else ()), "type"]
    kinds = _kinds(filter, columns, bind)
    place = [*columns, "position"]
    others = _without(filter, "types", "from_position", "to_position", *columns[:-1])
    where = [
        *_beyond(place, ">", [*_of_kind(columns), bind(low)]),
        *_beyond(place, "<", [*_of_kind(columns), bind(high)]),
        *map(unforeseen, _conditions(others, bind)),
    ]
    way = " DESC" if descending else ""
    order = ", ".join(f"{column}{way}" for column in place)
    firsts = f"SELECT {COLUMNS} FROM es.events AS event WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {limit}"
    return (
        f"WITH RECURSIVE kind ({', '.join(columns)}) AS MATERIALIZED ({kinds})"
        f" SELECT firsts.* FROM kind CROSS JOIN LATERAL ({firsts}) AS firsts ORDER BY position{way} LIMIT {limit}"
    ), values


def _kinds(filter: EventFilter, columns: Sequence[str], bind: Bind) -> str:
    """The types asked for, each with the values of the columns before it: without any, the types that have those values.

    Those are found in the index, each right after all events of the one before. They are not taken from this program: another
    release may have written others.
    """
    others = columns[:-1]
    given = [f"{bind(getattr(filter, column))}::{'uuid' if column == 'tenant_id' else 'text'}" for column in others]
    if filter.types is not None:
        # As rows, since PostgreSQL does not foresee how long an array is. With null there is no event.
        types = dict.fromkeys(filter.types) or (None,)
        return "VALUES " + ", ".join(f"({', '.join((*given, f'{bind(each)}::text'))})" for each in types)
    names, beyond = ", ".join(columns), " AND ".join(_beyond(columns, ">", _of_kind(columns)))
    next = f"SELECT {names} FROM es.events AS event WHERE {beyond} ORDER BY {names} LIMIT 1"
    same = " AND ".join(f"next.{column} = kind.{column}" for column in others)
    return f"SELECT {', '.join(given)}, '' UNION ALL SELECT next.* FROM kind CROSS JOIN LATERAL ({next}) AS next WHERE {same}"


def _of_kind(columns: Sequence[str]) -> list[str]:
    return [f"kind.{column}" for column in columns]


def _beyond(columns: Sequence[str], operator: str, values: Sequence[str]) -> Iterator[str]:
    """Past a place in the index of these columns."""
    yield f"({', '.join(columns)}) {operator} ({', '.join(values)})"
    # True then, but it must be said: the index on causes has only those events that have one.
    yield from (f"event.{column} IS NOT NULL" for column in columns if column in IN_METADATA)


def _without(filter: EventFilter, *conditions: str) -> EventFilter:
    return msgspec.structs.replace(filter, **dict.fromkeys(conditions))


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
    for column, key in IN_METADATA.items():
        if (value := getattr(filter, column)) is not None:  # not as the column: its indexes are not to be taken for another
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
