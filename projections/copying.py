"""Rows of an aggregate's read table in the form of a binary COPY, of which only what changed is made anew.

A version of a user differs from the one before in its version, its position and two or three columns of twenty-two. The
others are the same objects, and their bytes are kept. For a page of events that is 2 us a row, where values for asyncpg
took 2 us to collect and 6 us to encode.

The format: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS, and for each type what its
`typreceive` function reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import compress
from operator import is_not
from struct import Struct
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa
from msgspec.structs import astuple

from app.domain.aggregate import Stream
from projections.folding import Fold, Held, unwritable
from projections.projection import AggregateProjection, Projection

S = TypeVar("S", bound=msgspec.Struct)

Encode = Callable[[Any], bytes]
"""A value, or None, to its length and its bytes."""

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From which PostgreSQL counts the microseconds of a time."""

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
    since = value - EPOCH
    return BIGINT(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


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


def array_of(item: Encode, oid: int) -> Encode:
    """For arrays of one dimension, by what encodes an item, and the OID of its type."""

    def array(values: Sequence[Any] | None) -> bytes:
        if values is None:
            return NULL
        head = ARRAY(1, 0, oid, len(values), 1) if values else EMPTY_ARRAY(0, 0, oid)
        body = b"".join((head, *map(item, values)))
        return LENGTH(len(body)) + body

    return array


def encoder(type_: sa.types.TypeEngine[Any]) -> Encode:
    """What encodes the values of a column. Raises TypeError for a type of which no aggregate has a column yet."""
    match type_:
        case sa.ARRAY(item_type=sa.Uuid()):
            return array_of(uuid, 2950)
        case sa.ARRAY(item_type=sa.Text()):
            return array_of(text, 25)
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


class LastTime:
    """Encodes times, and remembers the last: one event's time ends a version, begins the next, and is in some of its columns."""

    def __init__(self) -> None:
        self._value: datetime | None = None
        self._form = NULL

    def __call__(self, value: datetime | None) -> bytes:
        """As `time`."""
        if value is not self._value:
            self._value, self._form = value, time(value)
        return self._form


class Form(msgspec.Struct, gc=False):
    """A row as it was last encoded."""

    fields: tuple[Any, ...]
    """The fields of its state."""
    parts: list[bytes]
    """Number of columns; id, tenant, version and position; each field; each derived column; the span."""


FIRST_FIELD = 2
"""Its place among the parts."""

IDS = 40
"""Bytes of id and tenant."""


class CopyFold(Fold[Stream[S]]):
    """A fold whose new rows and spans are in the form of a binary COPY."""

    def __init__(self, projection: AggregateProjection[S]) -> None:
        super().__init__(projection)
        columns, self._time = projection.table.columns, LastTime()
        types = [columns[name].type for name in (*projection.fields, *projection.derived)]
        self._encode = [self._time if encode is time else encode for encode in map(encoder, types)]
        self._compute = [*projection.computed.values()]
        self._derived_from = [
            [place for place, derived in enumerate(projection.derived.values()) if name in derived.fields]
            for name in projection.fields
        ]
        self._places = range(len(projection.fields))
        self._columns = COUNT(len(columns))
        self._columns_of_twin = COUNT(len(columns) + 4)

    def _add(self, held: Held[Stream[S]], added: list[Any]) -> None:
        parts = self._parts(held)
        added.append(b"".join((self._columns, *parts[1:-1])))

    def _keep_version(self, held: Held[Stream[S]], to_position: int | None, valid_to: datetime | None) -> None:
        parts = self._parts(held)
        began = self._time(held.time)
        if to_position is None:
            parts[-1] = b"".join((bigint(held.position), NULL, began, NULL))
        else:
            parts[-1] = SPAN(8, held.position, 8, to_position) + began + self._time(valid_to)
        self._spans.append(b"".join(parts))

    def _parts(self, held: Held[Stream[S]]) -> list[bytes]:
        """The row as one of the twin, without its span yet."""
        stream = held.row
        assert stream is not None
        fields, form = astuple(stream.state), held.form
        try:
            if form is None:
                form = held.form = self._whole(stream, fields)
            else:
                self._renew(form, stream, fields)
            parts: list[bytes] = form.parts
        except Exception as error:
            raise unwritable(self._projection, error) from error
        return parts

    def _whole(self, stream: Stream[S], fields: tuple[Any, ...]) -> Form:
        derived = [compute(stream.state) for compute in self._compute]
        values = [encode(value) for encode, value in zip(self._encode, (*fields, *derived), strict=True)]
        ids, place = uuid(stream.id) + uuid(stream.tenant_id), PLACE(4, stream.version, 8, stream.position)
        return Form(fields, [self._columns_of_twin, ids + place, *values, b""])

    def _renew(self, form: Form, stream: Stream[S], fields: tuple[Any, ...]) -> None:
        """Encode what is another object than before: evolving a state leaves all other fields as they are."""
        parts, encode, derived = form.parts, self._encode, list[int]()
        parts[1] = parts[1][:IDS] + PLACE(4, stream.version, 8, stream.position)
        for place in compress(self._places, map(is_not, form.fields, fields)):
            parts[FIRST_FIELD + place] = encode[place](fields[place])
            derived += self._derived_from[place]
        form.fields = fields
        for which in derived:
            place = len(fields) + which
            parts[FIRST_FIELD + place] = encode[place](self._compute[which](stream.state))


def fold_for_copy(projection: Projection[Any]) -> Fold[Any]:
    """A fold of which most is written by COPY."""
    return CopyFold(projection) if isinstance(projection, AggregateProjection) else Fold(projection)
