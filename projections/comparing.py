"""Where the rows that are shown differ from what their events make them: which fields, and since which event."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.eventstore.database import Connection
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections.folding import Fold, Values, touched
from projections.generations import Generation
from projections.projection import Key, Projection
from projections.writing import rows_of_keys

SHOWN = 10
"""Differing rows that are named; the others are only counted."""

PAGE = 5_000
"""Events read at a time where a row's events are looked for in the whole log."""

PATIENCE = 86_400.0
"""Seconds that the comparison of two large tables may take."""

LAST_VERSION = 2**31 - 1


class FieldDifference(msgspec.Struct, frozen=True):
    """A field as it is shown and as the events make it; None where there is no row."""

    field: str
    shown: Any
    folded: Any


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not what its events make it."""

    table: str
    key: Values
    fields: tuple[FieldDifference, ...]
    position: int | None
    """Of the first event after which it differs; None where no event touches the row."""
    event_id: UUID | None

    @property
    def words(self) -> str:
        """In one line."""
        fields = ", ".join(f"{each.field} is {each.shown!r} instead of {each.folded!r}" for each in self.fields)
        since = "no event touches it" if self.position is None else f"since event {self.event_id} at position {self.position}"
        return f"{self.table} ({', '.join(map(str, self.key))}): {fields}; {since}"


class Differences(msgspec.Struct, frozen=True):
    """How many rows differ, and the first of them."""

    count: int
    first: list[Difference]


async def compare(connection: Connection, store: EventStore, shown: Generation, folded: Generation) -> Differences:
    """The rows of a generation that differ from those of another one by the same fold, which is at the same position.

    The connection is in a transaction for which the tables stand still.
    """
    await connection.execute("SET LOCAL enable_seqscan = on")  # all rows are read, and are scattered in the order of a key
    count, first = 0, list[_Pair]()
    for its_table, other in zip(shown.tables, folded.tables, strict=True):
        [(same,)] = await connection.fetch(_same(its_table, other), timeout=PATIENCE)  # in parallel, which fetchval forbids
        if same:
            continue
        rows = await connection.fetch(_differing(its_table, other), timeout=PATIENCE)
        count += rows[0]["differing"] if rows else 0
        width = len(its_table.columns)
        first += [_Pair(its_table, _plain(row[1 : 1 + width]), _plain(row[1 + width :])) for row in rows]
    return Differences(count, await _explained(store, shown.projection, first[:SHOWN]))


async def compare_sample(
    connection: Connection, store: EventStore, shown: Generation, keys: Sequence[Key], until: int
) -> Differences:
    """Of the rows with these keys those that differ from the fold of their events up to the generation's checkpoint, `until`."""
    if not keys:
        return Differences(0, [])
    projection, wanted, width = shown.projection, set(keys), len(shown.projection.key_columns)
    events = [recorded async for recorded in _events(store, projection, keys, until)]
    fold = Fold(projection)
    fold.apply(events)
    changes = fold.take()
    folded = (changes.added, changes.spans) if changes else ([], [])
    pairs: list[_Pair] = []
    for table, rows in zip(shown.tables, folded, strict=False):
        own = [row for row in rows if _key(table, row)[:width] in wanted]
        there = await connection.fetch(rows_of_keys(projection, table), *zip(*keys, strict=True), timeout=PATIENCE)
        pairs += _pairs(table, map(tuple, there), own)
    return Differences(len(pairs), await _explained(store, projection, pairs[:SHOWN]))


class _Pair(msgspec.Struct, frozen=True):
    """A row as it is shown and as it is folded; all of one's values are None where it is missing."""

    table: sa.Table
    shown: Values
    folded: Values

    @property
    def key(self) -> Values:
        return _key(self.table, self.folded if all(value is None for value in self.shown) else self.shown)

    @property
    def fields(self) -> tuple[FieldDifference, ...]:
        values = zip(self.table.columns.keys(), self.shown, self.folded, strict=True)
        return tuple(FieldDifference(*each) for each in values if each[1] != each[2])


def _same(shown: sa.Table, folded: sa.Table) -> str:
    """Whether the tables have as many rows and the same sum of the rows' hashes, which takes half the time of joining them.

    The hashes are of 64 bits, those with which PostgreSQL itself joins rows, and tables that differ have one sum by an
    accident of 1 in 2^64.
    """
    one, other = (
        f"SELECT ROW(count(*), sum(hash_record_extended(row, 0))) FROM {table.fullname} row" for table in (shown, folded)
    )
    return f"SELECT ({one}) IS NOT DISTINCT FROM ({other})"


def _differing(shown: sa.Table, folded: sa.Table) -> str:
    """How many pairs of rows differ, and the first of them, both rows side by side."""
    key = ", ".join(column.name for column in shown.primary_key.columns)
    return f"""
        SELECT count(*) OVER () AS differing, shown.*, folded.*
        FROM {shown.fullname} shown FULL JOIN {folded.fullname} folded USING ({key})
        WHERE shown IS DISTINCT FROM folded LIMIT {SHOWN}
    """


def _pairs(table: sa.Table, shown: Iterable[Sequence[Any]], folded: Iterable[Sequence[Any]]) -> Iterator[_Pair]:
    nothing = (None,) * len(table.columns)
    one, other = ({_key(table, row): _plain(row) for row in rows} for rows in (shown, folded))
    for key in one.keys() | other.keys():
        if one.get(key) != other.get(key):
            yield _Pair(table, one.get(key, nothing), other.get(key, nothing))


def _key(table: sa.Table, row: Sequence[Any]) -> Values:
    return tuple(value for value, column in zip(row, table.columns, strict=True) if column.primary_key)


def _plain(row: Sequence[Any]) -> Values:
    """The row with its arrays as tuples, as a fold has them, not as the database does."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


async def _explained(store: EventStore, projection: Projection[Any], pairs: Sequence[_Pair]) -> list[Difference]:
    keys = [pair.key[: len(projection.key_columns)] for pair in pairs]
    histories: dict[Key, list[RecordedEvent]] = {key: [] for key in keys}
    async for recorded in _events(store, projection, keys, await store.head()):
        for key in touched([recorded], projection.key) & histories.keys():
            histories[key].append(recorded)
    return [_difference(projection, pair, histories[key]) for pair, key in zip(pairs, keys, strict=True)]


async def _events(
    store: EventStore, projection: Projection[Any], keys: Sequence[Key], until: int
) -> AsyncGenerator[RecordedEvent]:
    """The events up to a position that may touch the rows, in the order of each row's."""
    if projection.by_stream:
        for stream_id in {key[0] for key in keys}:
            for recorded in await store.stream_events(stream_id, 1, LAST_VERSION, undecoded=True):
                if recorded.position <= until and recorded.type in projection.reads:
                    yield recorded
        return
    after, wanted = 0, set(keys)
    while wanted and after < until:
        page = await store.read(after, PAGE, types=list(projection.reads), until=until, undecoded=True)
        after = page[-1].position if page else until
        for recorded in page:
            if not wanted.isdisjoint(touched([recorded], projection.key)):
                yield recorded


def _difference(projection: Projection[Any], pair: _Pair, history: Sequence[RecordedEvent]) -> Difference:
    since = _since(projection, pair, history)
    return Difference(
        table=pair.table.name,
        key=pair.key,
        fields=pair.fields,
        position=None if since is None else since.position,
        event_id=None if since is None else since.event_id,
    )


def _since(projection: Projection[Any], pair: _Pair, history: Sequence[RecordedEvent]) -> RecordedEvent | None:
    """The event after the last one at which the fold had, in the fields that differ, what is shown; for a row of a twin the
    event with which the row begins. The fold ends before an event that it cannot take: from there on the row waits.
    """
    if "from_position" in pair.table.columns:
        return next((each for each in history if each.position == pair.key[-1]), None)
    names = [each.field for each in pair.fields]
    columns = pair.table.columns.keys()
    shown = [pair.shown[columns.index(name)] for name in names]
    since, row = (history[0] if history else None), None
    for recorded, following in zip(history, [*history[1:], None], strict=True):
        try:
            row = projection.evolve(row, recorded)
        except Exception:  # parked, with its reason, by whoever folds it to write it
            break
        rows = () if row is None else projection.to_table(row)
        values = next((_plain(each) for each in rows if _key(pair.table, each) == pair.key), (None,) * len(columns))
        if [values[columns.index(name)] for name in names] == shown:
            since = following
    return since
