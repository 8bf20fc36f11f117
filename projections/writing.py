"""The statements that read and write the rows of one generation, a page of events at a time.

Rows go in as one array of the table's own row type, which asyncpg encodes and PostgreSQL reads without a detour through
text. For 1,000 rows of 21 columns with 9 indexes, of which one is a uuid[]: 31 ms, where COPY into a temporary table took
36, unnest of one array a column 38, executemany 38 and json_populate_recordset 47.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

import asyncpg
import sqlalchemy as sa
from msgspec import structs

from app.eventstore.database import Connection
from projections.copying import file_of
from projections.folding import Changes
from projections.generations import DIALECT, Generation
from projections.moving import moved
from projections.projection import Key, Projection

R = TypeVar("R")
Columns = Sequence[sa.Column[Any]]

PIECE = 250
"""Rows that go to a COPY at once: about what a socket takes."""

PATIENCE = 300.0
"""Seconds that a statement for a page of events may take. A request has a deadline; a page that is given up comes again."""


class Writing(Generic[R]):
    """Reads and writes the rows of a generation."""

    def __init__(self, generation: Generation) -> None:
        self.projection = generation.projection
        self._table, self._history = table, history = generation.table, generation.history
        self._key = self.projection.key_columns
        self._load = rows_of_keys(self.projection, table)
        key = key_of(self.projection)
        self._delete = _delete(table, key)
        steps = _steps(table, history, key)
        self._write = f"{_named(steps)} SELECT"
        values = 1 if history is None else 4 + len(key)  # rows, spans, and of what ended the key, a position and a time
        steps = {"moved": moved(values + 1)} | _steps(table, history, key, "EXISTS (SELECT FROM moved)")
        self._write_and_move = f"{_named(steps)} SELECT * FROM moved"
        self._temporal = history is not None
        self._freeze = False

    async def begin(self, connection: Connection, *, alone: bool) -> None:
        """A transaction of copies begins. `alone` says that nobody else writes to the tables, and that they are empty.

        Then what is copied is written as rows that everybody may see, which PostgreSQL allows in tables that the transaction
        itself has emptied: nobody who reads them later has to find out and write it down.
        """
        self._freeze = alone
        if alone:
            tables = [self._table] if self._history is None else [self._table, self._history]
            await connection.execute(f"TRUNCATE {', '.join(table.fullname for table in tables)}")

    async def load(self, connection: Connection, keys: Collection[Key]) -> dict[Key, R]:
        """The rows with these keys that exist."""
        if not keys:
            return {}
        records = await connection.fetch(self._load, *zip(*keys, strict=True), timeout=PATIENCE)
        of_key: dict[Key, list[asyncpg.Record]] = defaultdict(list)
        for record in records:
            of_key[tuple(record[name] for name in self._key)].append(record)
        return {key: self.projection.from_table(of_row) for key, of_row in of_key.items()}

    async def write(self, connection: Connection, changes: Changes) -> None:
        """Write what a page of events changed: one round trip, unless rows are gone. Raises what the database says of a row."""
        await connection.execute(self._write, *self._values(changes), timeout=PATIENCE)
        if changes.gone:
            await connection.execute(self._delete, *zip(*changes.gone, strict=True), timeout=PATIENCE)

    async def write_and_move(self, connection: Connection, changes: Changes, *place: Any) -> asyncpg.Record | None:
        """Write the same and move the generation on, by one statement: what `moved` takes and returns.

        Nothing is written unless it moves. No row may be gone.
        """
        return await connection.fetchrow(self._write_and_move, *self._values(changes), *place, timeout=PATIENCE)

    def _values(self, changes: Changes) -> list[Any]:
        rows = [*changes.added, *changes.updated]
        if not self._temporal:
            return [rows]
        ended = zip(*changes.ended, strict=True) if changes.ended else [()] * (len(self._key) + 2)
        return [rows, changes.spans, *ended]

    async def copy(self, connection: Connection, changes: Changes) -> None:
        """Write the same, with what is new by COPY: for so many rows that the round trips do not count."""
        if changes.updated or changes.ended or changes.gone:
            await self.write(connection, structs.replace(changes, added=[], spans=[]))
        await self._copy(connection, self._table, _pieces(changes.added))
        await self.copy_spans(connection, _pieces(changes.spans))

    async def copy_spans(self, connection: Connection, pieces: Iterator[Sequence[Any]]) -> None:
        """Write rows of the twin by COPY; the next piece is asked for while PostgreSQL takes the former."""
        if self._history is not None:
            await self._copy(connection, self._history, pieces)

    async def _copy(self, connection: Connection, table: sa.Table, pieces: Iterator[Sequence[Any]]) -> None:
        first = next(pieces, ())
        if not first:
            return
        pieces = chain([first], pieces)
        name: dict[str, Any] = {"table_name": table.name, "schema_name": table.schema, "timeout": PATIENCE}
        if isinstance(first[0], bytes):
            await connection.copy_to_table(**name, source=file_of(pieces), format="binary", freeze=self._freeze)
            return
        try:
            await connection.copy_records_to_table(**name, records=chain.from_iterable(pieces))
        except (OverflowError, TypeError, ValueError) as error:  # what `execute` names DataError
            raise asyncpg.DataError(f"a row of {table.fullname} cannot be written: {error}") from error


def _pieces(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[first : first + PIECE] for first in range(0, len(rows), PIECE))


def rows_of_keys(projection: Projection[Any], table: sa.Table) -> str:
    """A query of the rows that have one of the keys, whose values are its parameters: an array for each column of the key."""
    key = key_of(projection)
    return f"SELECT row.* FROM {_keys(key)} JOIN {table.fullname} row USING ({_names(key)})"


def key_of(projection: Projection[Any]) -> Columns:
    """The columns of a key."""
    return [projection.table.columns[name] for name in projection.key_columns]


def _delete(table: sa.Table, key: Columns) -> str:
    return f"DELETE FROM {table.fullname} row USING {_keys(key)} WHERE {_same_key(key, 'row')}"


def _named(steps: Mapping[str, str]) -> str:
    return "WITH " + ", ".join(f"{name} AS MATERIALIZED ({sql})" for name, sql in steps.items())


def _steps(table: sa.Table, history: sa.Table | None, key: Columns, condition: str = "true") -> dict[str, str]:
    """What writes rows and twin, each step by its name: under a condition, which is one for all of them.

    The span to end is the one with the latest start before its end: later ones may be there already.
    """
    steps = {"rows": _upsert(table, condition)}
    if history is None:
        return steps
    twin = history.fullname
    steps["spans"] = f"INSERT INTO {twin} SELECT span.* FROM unnest($2::{twin}[]) span WHERE {condition}"
    steps["ended"] = f"""
        SELECT key.*,
            (
                SELECT max(span.from_position) FROM {twin} span
                WHERE {_same_key(key, "span")} AND span.from_position < key.to_position
            ) from_position
        FROM {_keys(key, 3, to_position=sa.BigInteger(), valid_to=sa.DateTime(timezone=True))} WHERE {condition}
    """
    steps["closed"] = f"""
        UPDATE {twin} span SET to_position = key.to_position, valid_to = key.valid_to FROM ended key
        WHERE {_same_key(key, "span")} AND span.from_position = key.from_position AND span.to_position IS NULL
    """
    return steps


def _upsert(table: sa.Table, condition: str) -> str:
    changed = ", ".join(f"{column.name} = excluded.{column.name}" for column in table.columns if not column.primary_key)
    return (
        f"INSERT INTO {table.fullname} AS former SELECT row.* FROM unnest($1::{table.fullname}[]) row WHERE {condition}"
        f" ON CONFLICT ({_names(list(table.primary_key.columns))}) DO UPDATE SET {changed}"
        " WHERE former IS DISTINCT FROM excluded"  # of several rows of one key most are as before
    )


def _keys(key: Columns, first: int = 1, **more: sa.types.TypeEngine[Any]) -> str:
    """The keys given from the parameter $first on, one array a column, as a table named `key`."""
    columns = {column.name: column.type for column in key} | more
    arrays = (f"${place}::{type_.compile(DIALECT)}[]" for place, type_ in enumerate(columns.values(), start=first))
    return f"unnest({', '.join(arrays)}) key ({', '.join(columns)})"


def _same_key(key: Columns, alias: str) -> str:
    return " AND ".join(f"{alias}.{column.name} = key.{column.name}" for column in key)


def _names(columns: Columns) -> str:
    return ", ".join(column.name for column in columns)
