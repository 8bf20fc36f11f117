"""Answers that will never be others, because they tell of the past alone: a client may keep them, and need not ask again.

A version of a thing and a position of the log are closed as soon as they are reached. A timestamp never is: an import may still
bring what occurred before it. Nor is an answer from a read table that lacks an event, for it will be folded some day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from graphql import value_from_ast_untyped

from app.api.context import Context
from app.api.documents import Plan

KEPT = 86_400
"""Seconds that a client may keep an answer unasked: so late it notices that a person's data was erased."""

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "projections")

TAG = re.compile(r'"([0-9a-f]{64})"')


def tag(plan: Plan, given: list[Any], variables: Mapping[str, Any], context: Context) -> str:
    """What an answer is known by: all that it depends on, `given` and who asks; nothing when it is not closed."""
    if not plan.closable or not all(_is_closed(value_from_ast_untyped(node, dict(variables))) for node in plan.moments):
        return ""
    caller = context.caller
    sees = (caller.within, caller.user_id, sorted(caller.permissions))
    return sha256(orjson.dumps([code(), *given, *sees], option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def code(root: Path = ROOT) -> str:
    """A digest of this program's own source. Other code may tell more, or fold otherwise, also under the same version."""
    found = sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        found.update(b"%b\0%b\0" % (str(path.relative_to(root)).encode(), path.read_bytes()))
    return found.hexdigest()


def _is_closed(moment: Any) -> bool:
    return isinstance(moment, dict) and any(isinstance(moment.get(name), int) for name in ("version", "position"))


def known(if_none_match: str) -> frozenset[str]:
    """The answers that a client has, by its header If-None-Match."""
    return frozenset(TAG.findall(if_none_match))


async def is_whole(plan: Plan, context: Context) -> bool:
    """Whether the read tables hold all events up to the position that they have reached."""
    live = [each for each in await context.backend.engine.status() if each.live and each.name in plan.projections]
    return not any(each.parked for each in live)


def headers(tag: str) -> list[tuple[str, str]]:
    """Of an answer that may be kept."""
    return [("etag", f'"{tag}"'), ("cache-control", f"private, max-age={KEPT}, immutable")]
