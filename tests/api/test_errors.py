"""Every code that a client can be told is in the README, with its cause and its cure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from app.api.errors import Code
from app.api.schema import build
from app.errors import HindsightError
from tests.test_readme import README

ROW = re.compile(r"^\| ((?:`(?!HINDSIGHT)[A-Z_]+`(?:, )?)+) \| .+ \| .+ \|$", re.MULTILINE)

PROBLEMS_ONLY = {"INVALID", "NOT_ALLOWED"}
NEVER_ANSWERED = {
    "HINDSIGHT_ERROR": "the base of all",
    "REFUSAL": "the base of some",
    "BAD_TEXT": "the base of some",
    "IMPORT_STOPPED": "of the command line",
    "PASS_DIED": "of the command line",
    "CONFIGURATION_ERROR": "of the command line",
    "INVALID_TOKEN": "answered as UNAUTHENTICATED, whatever is wrong with it",
}


OF_THE_SERVICE = re.compile(r"(app|projections)\.(?!bench)")


def tree(error: type[HindsightError]) -> Iterator[type[HindsightError]]:
    yield error
    for each in error.__subclasses__():
        yield from tree(each)


def test_the_readme_lists_exactly_the_codes_that_there_are() -> None:
    build()  # for which every module of the API is imported
    listed = [code for row in ROW.findall(README) for code in re.findall(r"[A-Z_]+", row)]
    foreseen = {each.code for each in tree(HindsightError) if OF_THE_SERVICE.match(each.__module__)}
    assert len(listed) == len(set(listed))
    assert set(listed) == ({*get_args(Code)} | foreseen | PROBLEMS_ONLY) - NEVER_ANSWERED.keys()
