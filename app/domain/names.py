"""What a text must be like to be a name, and when two names are the same name."""

from collections.abc import Iterable
from typing import TypeVar
from unicodedata import category, normalize

from app.errors import Refusal

T = TypeVar("T")

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, lone surrogates (neither fits into a PostgreSQL jsonb), line and paragraph separators."""


class BadText(Refusal):
    """A text does not keep the rules for its field."""

    def __init__(self, field: str, rule: str) -> None:
        self.field = field
        super().__init__(f"the {field.replace('_', ' ')} {rule}")


class TextIsEmpty(BadText):
    """The text must not be empty."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "must not be empty")


class TextIsTooLong(BadText):
    """The text is too long; shorten it."""

    def __init__(self, field: str, length: int, longest: int) -> None:
        self.length = length
        self.longest = longest
        super().__init__(field, f"has {length} characters; shorten it to {longest}")


class TextIsNotOneLine(BadText):
    """The text must be on one line, without control characters."""

    def __init__(self, field: str, place: int) -> None:
        self.place = place
        super().__init__(field, f"has a line break or control character at place {place}; leave it out")


def checked(field: str, text: str, *, longest: int) -> str:
    """The text without space around it. Raises a BadText that names the field when nothing, too much or a control is left."""
    trimmed = text.strip()
    if not trimmed:
        raise TextIsEmpty(field)
    if len(trimmed) > longest:
        raise TextIsTooLong(field, len(trimmed), longest)
    for place, character in enumerate(trimmed, start=1):
        if category(character) in UNPRINTABLE:
            raise TextIsNotOneLine(field, place)
    return trimmed


def checked_if_given(field: str, text: str | None, *, longest: int) -> str | None:
    """As `checked`; None stays None."""
    return None if text is None else checked(field, text, longest=longest)


def without_repeats(things: Iterable[T]) -> tuple[T, ...]:
    """Each thing once, in the order in which they first come."""
    return tuple(dict.fromkeys(things))


def normalise(name: str) -> str:
    """The form in which two spellings of one name are equal.

    Case, width, ligatures and whether an accent is a character of its own do not matter. Folding the case can undo the
    normal form, so it is made again; normalising a second time changes nothing.
    """
    if name.isascii():  # most names: they have one spelling but for case
        return name.lower().strip()
    return normalize("NFKC", normalize("NFKC", name).casefold()).strip()
