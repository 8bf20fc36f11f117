"""What a read model declares: its tables, the events it reads, and the fold that turns them into rows.

A projection executes nothing; the engine calls its pure functions and writes what they return.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Generic, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
from msgspec.structs import astuple

from app.domain.aggregate import Aggregate, Stream
from app.errors import BadInput
from app.eventstore.codec import Codec
from app.eventstore.recorded import Excerpt, RecordedEvent

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)

Key = tuple[Any, ...]
"""Which row: the values of the projection's key columns, in their order."""

READ = sa.MetaData(schema="read", naming_convention={"ix": "%(table_name)s_%(column_0_N_name)s_idx"})
"""The tables that queries name. In the database these are views of each projection's live generation."""

TIME = sa.DateTime(timezone=True)

BYTEWISE = sa.Text(collation="C")
"""Text in the order of its code points, for columns that lists are ordered by: the same pages on every server."""

OF_THE_STREAM = ("id", "tenant_id", "version", "position")

DEPENDENT = "dependent"
"""In a table's info: columns that depend on each other, which PostgreSQL is told, as it would expect too few rows with both."""


class Projection(ABC, Generic[R]):
    """A keyed fold of the log into a table.

    Both `key` and `evolve` are pure. With `history` the engine keeps every row that was ever true in that table, the
    temporal twin (see `twin`); then the events of one key must come from one stream, where time never runs backwards.

    What is folded for a key is usually one row of the table (`RowProjection`). It may be several, all that begin with the
    key; of these the fold adds and changes some, and none goes unless all of them go.
    """

    name: str
    table: sa.Table
    history: sa.Table | None = None
    reads: frozenset[str]
    """Event types."""
    by_stream: bool = False
    """Whether each row is made by the events of one stream, whose id is the first value of the row's key."""

    @property
    def tables(self) -> list[sa.Table]:
        """The table, and its twin if there is one."""
        return [self.table] if self.history is None else [self.table, self.history]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of a key: the table's primary key, or the first columns of it."""
        return tuple(self.table.primary_key.columns.keys())

    @abstractmethod
    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """The rows that the event touches, each once."""

    @abstractmethod
    def evolve(self, row: R | None, recorded: RecordedEvent) -> R | None:
        """The row after the event; None when there is none any more."""

    @abstractmethod
    def to_table(self, row: R) -> Iterable[tuple[Any, ...]]:
        """What the table holds for the row: the columns of each of its rows, in the table's order."""

    @abstractmethod
    def from_table(self, records: Sequence[asyncpg.Record]) -> R:
        """The row, read back from all that the table holds for it."""

    def sources(self) -> Iterable[Any]:
        """The functions and classes whose code decides what the rows are."""
        return (type(self).key, type(self).evolve, type(self).to_table, type(self).from_table)


class RowProjection(Projection[R]):
    """A fold whose every row is one row of the table."""

    @abstractmethod
    def values(self, row: R) -> tuple[Any, ...]:
        """What the row's columns hold, in the table's order."""

    @abstractmethod
    def row(self, record: asyncpg.Record) -> R:
        """The row, read back from its columns."""

    def to_table(self, row: R) -> Iterable[tuple[Any, ...]]:
        """Just the one."""
        return (self.values(row),)

    def from_table(self, records: Sequence[asyncpg.Record]) -> R:
        """Of just the one."""
        return self.row(records[0])

    def sources(self) -> Iterable[Any]:
        """The functions and classes whose code decides what the rows are."""
        return (type(self).key, type(self).evolve, type(self).values, type(self).row)


class Derived(msgspec.Struct, frozen=True):
    """A column that is computed from some fields of a state: by the state's property of the column's name, unless told."""

    fields: tuple[str, ...]
    """All that it depends on."""
    compute: Callable[[Any], Any] | None = None


class AggregateProjection(RowProjection[Stream[S]]):
    """One row for each stream of an aggregate: the stream's own state, folded by the aggregate's own `evolve`.

    The table has the columns id, tenant_id, version and position, one for each field of the state in its order, and then one
    for each entry of `derived`.
    """

    by_stream = True

    def __init__(
        self,
        name: str,
        aggregate: Aggregate[S, Any, Any],
        state: type[S],
        table: sa.Table,
        history: sa.Table | None = None,
        derived: Mapping[str, Derived] | None = None,
    ) -> None:
        self.name, self.table, self.history = name, table, history
        self.reads = frozenset(event.__name__ for event in aggregate.events)
        self.fields = tuple(field.name for field in msgspec.structs.fields(state))
        self.derived = derived or {}
        self.computed: dict[str, Callable[[S], Any]] = {
            column: each.compute or attrgetter(column) for column, each in self.derived.items()
        }
        self._stream_type, self._evolve, self._state = aggregate.stream_type, aggregate.evolve, state
        names = table.columns.keys()
        if names != [*OF_THE_STREAM, *self.fields, *self.derived]:
            raise TypeError(f"{table.name} must have the columns {', '.join((*OF_THE_STREAM, *self.fields, *self.derived))}")
        self._arrays = tuple(name for name in self.fields if isinstance(table.columns[name].type, sa.ARRAY))
        self._place = attrgetter(*OF_THE_STREAM)
        self._values = itemgetter(*self.fields)
        # An array that is given as it is would be counted, and planned for, each time that it is a small one.
        columns = ", ".join((*OF_THE_STREAM, *self.fields))
        self.by_ids = f"SELECT {columns} FROM {table.fullname} WHERE id = ANY ((SELECT $1::uuid[])::uuid[])"

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """The stream."""
        return ((recorded.stream_id,),)

    def evolve(self, row: Stream[S] | None, recorded: RecordedEvent) -> Stream[S]:
        """The stream with the event folded into its state."""
        return Stream(
            id=recorded.stream_id,
            type=self._stream_type,
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            state=self._evolve(None if row is None else row.state, recorded.event, recorded.occurred_at),
        )

    def states(self, state: S | None, excerpt: Excerpt, codec: Codec) -> list[S]:
        """The stream's state after each event of the excerpt, from that before them. Raises whatever is wrong with one."""
        evolve, reader = self._evolve, codec.reader
        states: list[S] = []
        for each in excerpt.events:
            state = evolve(state, reader(each.type, each.schema_version)[1](each.data), each.at)
            states.append(state)
        return states

    def stream(self, excerpt: Excerpt, state: S) -> Stream[S]:
        """The stream after the last event of an excerpt."""
        last = excerpt.events[-1]
        return Stream(
            id=excerpt.stream_id,
            type=self._stream_type,
            tenant_id=excerpt.tenant_id,
            version=last.version,
            position=last.position,
            state=state,
        )

    def values(self, row: Stream[S]) -> tuple[Any, ...]:
        """Place of the stream, its state, what is derived from it."""
        state = row.state
        return (*self._place(row), *astuple(state), *[compute(state) for compute in self.computed.values()])

    def row(self, record: asyncpg.Record) -> Stream[S]:
        """The stream, from a row of the table or of its twin."""
        fields = dict(zip(self.fields, self._values(record), strict=True))
        for name in self._arrays:
            fields[name] = tuple(fields[name])
        return Stream(
            id=record["id"],
            type=self._stream_type,
            tenant_id=record["tenant_id"],
            version=record["version"],
            position=record["position"],
            state=self._state(**fields),
        )

    def sources(self) -> Iterable[Any]:
        """The aggregate's fold, the shape of its state, and what is derived from it."""
        own = (each.compute for each in self.derived.values() if each.compute)
        return (AggregateProjection, self._evolve, self._state, *own)


def named(projections: Iterable[Projection[Any]], name: str) -> Projection[Any]:
    """The projection with that name. Raises BadInput when there is none."""
    by_name = {projection.name: projection for projection in projections}
    if name not in by_name:
        raise BadInput("projection", f"there is no projection {name!r}; there are {', '.join(by_name)}")
    return by_name[name]


def stream_columns() -> tuple[sa.Column[Any], ...]:
    """The columns that the table of an AggregateProjection begins with."""
    return (
        sa.Column("id", sa.Uuid, primary_key=True),
        required("tenant_id", sa.Uuid()),
        required("version", sa.Integer()),
        required("position", sa.BigInteger()),
    )


def statistics(table: sa.Table) -> list[str]:
    """What tells PostgreSQL of the table's dependent columns, a statement each."""
    if DEPENDENT not in table.info:
        return []
    columns = table.info[DEPENDENT]
    return [f"CREATE STATISTICS {table.fullname}_{'_'.join(columns)}_stat ON {', '.join(columns)} FROM {table.fullname}"]


def required(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """A column that is never null."""
    return sa.Column(name, type_, nullable=False)


def twin(table: sa.Table, *indexes: sa.Index) -> sa.Table:
    """The table of every row that `table` ever had, each with the positions and the times between which it was true.

    Spans include their start and not their end; without an end the row is true now. Those of one key never overlap.
    Events of one moment leave rows with an empty span of time, which no timestamp finds.
    """
    return sa.Table(
        f"{table.name}_history",
        table.metadata,
        *(sa.Column(of.name, of.type, primary_key=of.primary_key, nullable=of.nullable) for of in table.columns),
        sa.Column("from_position", sa.BigInteger, primary_key=True),
        sa.Column("to_position", sa.BigInteger),
        required("valid_from", TIME),
        sa.Column("valid_to", TIME),
        *indexes,
    )
