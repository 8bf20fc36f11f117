"""Rows of an aggregate's read table in the form of a binary COPY, of which only what changed is made anew.

A version of a user differs from the one before in its version, its position and two or three columns of twenty-two. The
others are the same objects, and their bytes are kept. For a page of events that is 2 us a row, where values for asyncpg
took 2 us to collect and 6 us to encode.

The format: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS, and for each type what its
`typreceive` function reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import compress
from operator import is_not
from struct import Struct
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec.structs import astuple

from app.domain.aggregate import Stream
from app.errors import UnreadableEvent
from app.eventstore.codec import Codec
from app.eventstore.recorded import Excerpt
from projections.folding import Fold, Held, unwritable
from projections.projection import AggregateProjection, Key, Projection

S = TypeVar("S", bound=msgspec.Struct)

Encode = Callable[[Any], bytes]
"""A value, or None, to its length and its bytes."""

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From which PostgreSQL counts the microseconds of a time."""
MICROSECOND = timedelta(microseconds=1)

SPELL = 100
"""Events of excerpts that are folded before anything else is let happen."""

LENGTH = Struct(">i").pack
COUNT = Struct(">h").pack
INTEGER = Struct(">ii").pack
BIGINT = Struct(">iq").pack
PLACE = Struct(">iiiq").pack
SPAN = Struct(">iqiq").pack
ARRAY = Struct(">iiiii").pack
EMPTY_ARRAY = Struct(">iii").pack


async def file_of(pieces: Iterable[Sequence[bytes]]) -> AsyncIterator[bytes]:
    """What COPY … FROM STDIN (FORMAT binary) reads."""
    yield SIGNATURE
    for rows in pieces:
        yield b"".join(rows)
    yield END


def text(value: str | None) -> bytes:
    """Of the type text."""
    if value is None:
        return NULL
    encoded = value.encode()
    return LENGTH(len(encoded)) + encoded


def time(value: datetime | None) -> bytes:
    """Of the type timestamptz."""
    if value is None:
        return NULL
    return BIGINT(8, (value - EPOCH) // MICROSECOND)


def bigint(value: int | None) -> bytes:
    """Of the type bigint."""
    return NULL if value is None else BIGINT(8, value)


def integer(value: int | None) -> bytes:
    """Of the type integer."""
    return NULL if value is None else INTEGER(4, value)


def boolean(value: bool | None) -> bytes:
    """Of the type boolean."""
    return NULL if value is None else b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def uuid(value: UUID | None) -> bytes:
    """Of the type uuid."""
    return NULL if value is None else b"\0\0\0\x10" + value.bytes


def texts(values: Sequence[str] | None) -> bytes:
    """Of the type text[]."""
    return NULL if values is None else array(25, len(values), b"".join(map(text, values)))


UUID_FOLLOWS = LENGTH(16)


def uuids(values: Sequence[UUID] | None) -> bytes:
    """Of the type uuid[]."""
    if values is None:
        return NULL
    items = UUID_FOLLOWS.join((b"", *[value.bytes for value in values])) if values else b""
    return array(2950, len(values), items)


def array(oid: int, count: int, items: bytes) -> bytes:
    """Of one dimension and without nulls, by the OID of the items' type; each item begins with its length."""
    head = ARRAY(1, 0, oid, count, 1) if count else EMPTY_ARRAY(0, 0, oid)
    return LENGTH(len(head) + len(items)) + head + items


def encoder(type_: sa.types.TypeEngine[Any]) -> Encode:
    """What encodes the values of a column. Raises TypeError for a type of which no aggregate has a column yet."""
    match type_:
        case sa.ARRAY(item_type=sa.Uuid()):
            return uuids
        case sa.ARRAY(item_type=sa.Text()):
            return texts
        case sa.Uuid():
            return uuid
        case sa.Text():
            return text
        case sa.DateTime(timezone=True):
            return time
        case sa.BigInteger():
            return bigint
        case sa.Integer():
            return integer
        case sa.Boolean():
            return boolean
        case _:
            raise TypeError(f"there is no binary form of {type_!r}")


def remembering(encode: Encode) -> Encode:
    """Remembers the last value: one event's time ends a version, begins the next, and is in some of its columns."""
    last, form = None, NULL

    def encoded(value: Any) -> bytes:
        nonlocal last, form
        if value is not last:
            last, form = value, encode(value)
        return form

    return encoded


class Form(msgspec.Struct, gc=False):
    """A row of the twin as it was last encoded: what did not change since need not be encoded again."""

    position: int
    """Of the version that is encoded."""
    fields: tuple[Any, ...]
    """Of its state."""
    columns: list[bytes]
    """The number of columns, id and tenant; version and position; each field; each derived column; and the span."""


PLACE_AT, FIELDS_AT, SPAN_AT = 1, 2, -1
"""Where these are, or begin, among a form's columns."""


class CopyFold(Fold[Stream[S]]):
    """A fold whose new rows and spans are in the form of a binary COPY, and which takes in whole excerpts of streams."""

    def __init__(self, projection: AggregateProjection[S], codec: Codec) -> None:
        super().__init__(projection)
        columns, self._time = projection.table.columns, remembering(time)
        types = [columns[name].type for name in (*projection.fields, *projection.derived)]
        self._aggregate, self._codec = projection, codec
        self._encode = [self._time if encode is time else encode for encode in map(encoder, types)]
        self._compute = [*projection.computed.values()]
        self._derived_from = [
            [place for place, derived in enumerate(projection.derived.values()) if name in derived.fields]
            for name in projection.fields
        ]
        self._places = range(len(projection.fields))
        self._columns = COUNT(len(columns))
        self._columns_of_twin = COUNT(len(columns) + 4)

    def fold_excerpt(self, excerpt: Excerpt) -> bool:
        """Fold what an excerpt of a stream holds; False, and nothing folded, if one of its events waits or cannot be folded.

        Raises UnreadableEvent.
        """
        key: Key = (excerpt.stream_id,)
        if not self.parking.closed.isdisjoint((key, excerpt.stream_id)):
            return False
        held = self._held.get(key)
        before = None if held is None or held.row is None else held.row.state
        try:
            states = self._aggregate.states(before, excerpt, self._codec)
        except Exception:  # told apart event by event, by whoever folds them one by one
            return False
        if held is None:
            held = self._held[key] = Held()
        if held.position is None:
            self._changed.append((key, held))
        if self._aggregate.history is not None:
            try:
                self._end_versions(held, excerpt, states)
            except UnreadableEvent:  # says so already
                raise
            except Exception as error:
                raise unwritable(self._projection, error) from error
        held.row = self._aggregate.stream(excerpt, states[-1])
        held.position, held.time = excerpt.events[-1].position, excerpt.events[-1].at
        return True

    def _end_versions(self, held: Held[Stream[S]], excerpt: Excerpt, states: Sequence[S]) -> None:
        """Each version ends where the next begins; the last one goes on."""
        form, start, since, spans = None, held.position, self._time(held.time), self._spans
        if held.row is not None:
            if start is None:  # the table's twin has it, as a span without an end
                self._ended.append((excerpt.stream_id, excerpt.events[0].position, excerpt.events[0].at))
            else:
                form = self._form(held)
        for state, each in zip(states, excerpt.events, strict=True):
            position, now = each.position, self._time(each.at)
            if form is None:
                form = self._whole(excerpt.stream_id, excerpt.tenant_id, each.version, position, state)
            else:
                columns = form.columns
                columns[SPAN_AT] = SPAN(8, start, 8, position) + since + now
                spans.append(b"".join(columns))
                self._renew(form, each.version, position, state)
            start, since = position, now
        held.form = form

    def _add(self, held: Held[Stream[S]], added: list[Any]) -> None:
        row = b"".join(self._form(held).columns[:SPAN_AT])
        added.append(self._columns + row[len(self._columns) :])

    def _keep_version(self, held: Held[Stream[S]], to_position: int | None, valid_to: datetime | None) -> None:
        columns, since = self._form(held).columns, self._time(held.time)
        columns[SPAN_AT] = b"".join((bigint(held.position), bigint(to_position), since, self._time(valid_to)))
        self._spans.append(b"".join(columns))

    def _form(self, held: Held[Stream[S]]) -> Form:
        """The form of the row as it is."""
        stream, form = held.row, held.form
        assert stream is not None
        try:
            if form is None:
                form = held.form = self._whole(stream.id, stream.tenant_id, stream.version, stream.position, stream.state)
            elif form.position != stream.position:
                self._renew(form, stream.version, stream.position, stream.state)
        except Exception as error:
            raise unwritable(self._projection, error) from error
        return cast(Form, form)

    def _whole(self, id: UUID, tenant_id: UUID, version: int, position: int, state: S) -> Form:
        fields = astuple(state)
        values = (*fields, *[compute(state) for compute in self._compute])
        head = b"".join((self._columns_of_twin, uuid(id), uuid(tenant_id)))
        columns = [encode(value) for encode, value in zip(self._encode, values, strict=True)]
        return Form(position, fields, [head, PLACE(4, version, 8, position), *columns, b""])

    def _renew(self, form: Form, version: int, position: int, state: S) -> None:
        """Encode what is another object than before: evolving a state leaves all other fields as they are."""
        fields, columns, encode = astuple(state), form.columns, self._encode
        form.position, columns[PLACE_AT] = position, PLACE(4, version, 8, position)
        stale: Sequence[int] = ()
        for place in compress(self._places, map(is_not, form.fields, fields)):
            columns[FIELDS_AT + place] = encode[place](fields[place])
            if derived := self._derived_from[place]:
                stale = [*stale, *derived]
        form.fields = fields
        for place in stale:
            derived_at = len(fields) + place
            columns[FIELDS_AT + derived_at] = encode[derived_at](self._compute[place](state))


def folds_excerpts(projection: Projection[Any]) -> bool:
    """Whether its rows can be made of excerpts: they are an aggregate's states, by the aggregate's own fold."""
    return isinstance(projection, AggregateProjection) and type(projection).evolve is AggregateProjection.evolve


def fold_for_copy(projection: Projection[Any], codec: Codec) -> Fold[Any]:
    """A fold of which most is written by COPY."""
    return CopyFold(projection, codec) if isinstance(projection, AggregateProjection) else Fold(projection)


async def fold_excerpts(fold: CopyFold[Any], excerpts: Iterable[Excerpt]) -> list[Excerpt]:
    """Those that could not be folded. Whatever else goes on in this process, such as writing, goes on now and then."""
    left, folded = list[Excerpt](), 0
    for each in excerpts:
        if not fold.fold_excerpt(each):
            left.append(each)
        folded += len(each.events)
        if folded >= SPELL:
            folded = 0
            await asyncio.sleep(0)
    return left
