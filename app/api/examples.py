"""The README's queries, which GraphiQL offers as examples: those that the tests execute are the ones that people see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import metadata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

README = Path(__file__).parents[2] / "README.md"

PART = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$|^(?P<text>\w.*?)\n\n", re.MULTILINE | re.DOTALL
)
FIRST_FIELD = re.compile(r"\{\s*(?:\w+: )?(\w+)")
LONGEST = 100
"""Characters; a longer sentence than that is about more than the query."""
SENTENCE = re.compile(r"(?<=[.?])\s|:$")


class Example(msgspec.Struct, frozen=True):
    """A query: the field that it asks first, and what the manual says of it."""

    title: str
    says: str
    query: str


class Section(msgspec.Struct, frozen=True):
    """The examples below one heading."""

    heading: str
    examples: list[Example]


class Found(NamedTuple):
    """An example, and the heading that it stands below."""

    heading: str
    example: Example


def readme() -> str:
    """The README: that of the source tree, or what the installed package has of it."""
    return README.read_text() if README.exists() else str(metadata("hindsight").json["description"])


def examples(readme: str) -> list[Section]:
    """The queries of a README, in its order."""
    by_heading = groupby(_found(readme), key=lambda found: found.heading)
    return [Section(heading, [found.example for found in group]) for heading, group in by_heading]


def _found(readme: str) -> Iterator[Found]:
    heading, said = "", ""
    for part in PART.finditer(readme):
        if part["heading"]:
            heading, said = part["heading"], ""
        elif part["text"]:
            sentence = SENTENCE.split(" ".join(part["text"].split()))[0].replace("`", "")
            said = sentence if len(sentence) <= LONGEST else ""
        elif part["language"] == "graphql":
            field = FIRST_FIELD.search(part["code"])
            assert field, "a query asks for something"
            yield Found(heading, Example(title=field[1], says=said, query=part["code"]))
            said = ""
