"""The line that a benchmark reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from statistics import median
from typing import TypeVar

import msgspec

T = TypeVar("T")

Timed = Callable[[float], Awaitable[Sequence[float]]]
"""Does work for about so many seconds; returns the clock's readings: first when it began, then whenever a piece was done."""


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """How often something is measured, and for how long each time."""

    rounds: int = 25
    seconds: float = 0.1


SLICES = Slices()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Something measured beside its limit: a median of rates per second, unless its name says another unit."""

    work: str
    measured: float
    limit: float
    limit_is: str
    ratio: float
    wanted: float | None
    """The least ratio that is good enough, if there is an opinion on it."""
    met: bool | None


def line(work: str, measured: Sequence[float], limit: Sequence[float], limit_is: str, wanted: float | None = None) -> Line:
    """The line for the rates that were taken."""
    ratio = median(measured) / median(limit)
    return Line(
        work=work,
        measured=round(median(measured), 1),
        limit=round(median(limit), 1),
        limit_is=limit_is,
        ratio=round(ratio, 3),
        wanted=wanted,
        met=None if wanted is None else ratio >= wanted,
    )


def at_most(work: str, measured: float, limit: float, limit_is: str) -> Line:
    """The line for something that is good when it is small: its ratio is how often it would fit into the limit."""
    ratio = limit / measured if measured else inf
    return Line(
        work=work,
        measured=round(measured, 1),
        limit=round(limit, 1),
        limit_is=limit_is,
        ratio=round(ratio, 3),
        wanted=1.0,
        met=ratio >= 1,
    )


async def in_turns(*measurements: Callable[[], Awaitable[T]], rounds: int) -> list[list[T]]:
    """The results of each measurement: all of them once, then all of them again, so that a slow minute slows all alike."""
    results: list[list[T]] = [[] for _ in measurements]
    for _ in range(rounds):
        for measurement, its_results in zip(measurements, results, strict=True):
            its_results.append(await measurement())
    return results


async def in_slices(slices: Slices, *timed: Timed, at_once: int = 1) -> list[list[float]]:
    """The rates of work of which so many pieces are under way at once: see `paces`. The slices take turns."""
    readings = await in_turns(*(partial(work, slices.seconds) for work in timed), rounds=slices.rounds)
    return [[pace for done in each for pace in paces(done, 2 * at_once)] for each in readings]


def paces(done: Sequence[float], group: int) -> list[float]:
    """Pieces per second of each group of so many that were done one after the other.

    When the machine does something else for a second, one group is slow, and the median of the groups is not.
    """
    group = min(group, len(done) - 1)
    return [group / (done[end] - done[end - group]) for end in range(group, len(done), group)]
