"""Pages by key: a cursor holds the values that an item is ordered by, so a page costs the same anywhere in the list.

The shape is that of GraphQL connections: `first` items after a cursor, or `last` items before one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Generic, TypeVar, overload
from uuid import UUID

import msgspec

from app.errors import BadInput

T = TypeVar("T")

DEFAULT_SIZE = 20
LARGEST_SIZE = 100

CursorValue = str | int | bool | datetime | UUID | None


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which page: `first` items (20 unless told) after the cursor `after`, or the `last` ones before `before`."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    @classmethod
    def checked(cls, first: int | None, after: str | None, last: int | None, before: str | None) -> PageRequest:
        """What a client asked for. Raises BadInput that names the argument and the rule."""
        if first is not None and last is not None:
            raise BadInput("first", "cannot be combined with last: a page is counted from one end")
        for argument, size in (("first", first), ("last", last)):
            if size is not None and not 1 <= size <= LARGEST_SIZE:
                raise BadInput(argument, f"must be from 1 to {LARGEST_SIZE}, not {size}")
        return cls(first=first, after=after, last=last, before=before)

    @property
    def size(self) -> int:
        """How many items at most."""
        return self.first or self.last or DEFAULT_SIZE

    @property
    def from_the_end(self) -> bool:
        """Whether the items are counted from the end, so that the query runs in the opposite order."""
        return self.last is not None

    def page(self, rows: Sequence[Any], item: Callable[[Any], T], cursor: Callable[[Any], str]) -> Page[T]:
        """The page made of the query's rows, of which there is one more than `size` when the list goes on.

        The rows come in the order of the query, that is, reversed when `from_the_end`.
        """
        kept, goes_on = rows[: self.size], len(rows) > self.size
        if self.from_the_end:
            kept = kept[::-1]
        return Page(
            items=[item(row) for row in kept],
            cursors=Cursors(kept, cursor),
            has_next=self.before is not None if self.from_the_end else goes_on,
            has_previous=goes_on if self.from_the_end else self.after is not None,
        )


class Cursors(Sequence[str]):
    """The cursors of a page's rows, each made when it is asked for: of most pages that is the last one only."""

    def __init__(self, rows: Sequence[Any], cursor: Callable[[Any], str]) -> None:
        self._rows = rows
        self._cursor = cursor

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursors) and list(self) == list(other)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._cursor(row) for row in self._rows[place]]
        return self._cursor(self._rows[place])


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Items of a list in its order, each with its cursor, and whether there are more on either side."""

    items: list[T]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool


def fingerprint(*parts: object) -> str:
    """A short text that differs between queries whose cursors must not be mixed: name, filter, order."""
    return blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def encode_cursor(fingerprint: str, values: Sequence[CursorValue]) -> str:
    """An opaque text that holds the values by which an item is ordered."""
    return base64.urlsafe_b64encode(msgspec.json.encode([fingerprint, *values])).decode().rstrip("=")


def decode_cursor(argument: str, cursor: str, fingerprint: str, types: Sequence[Any]) -> list[Any]:
    """The values in a cursor, of the given types (`int`, `str | None`, …).

    Raises BadInput naming `argument` when the text is no cursor, or one of another query.
    """
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        found, *values = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[Any])
        if found == fingerprint and len(values) == len(types):
            return [msgspec.convert(value, type) for value, type in zip(values, types, strict=True)]
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadInput(argument, f"{cursor!r} is not a cursor of this API") from None
    raise BadInput(argument, "is a cursor of another filter or order; start again without it")
