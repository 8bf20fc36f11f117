"""The line that a benchmark reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import median

import msgspec

Measurement = Callable[[], Awaitable[float]]
"""Does some work and returns how much of it per second."""

Timed = Callable[[float], Awaitable[Sequence[float]]]
"""Does work for about so many seconds; returns the clock's readings: first when it began, then whenever a piece was done."""


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """How often something is measured, and for how long each time."""

    rounds: int = 25
    seconds: float = 0.1


SLICES = Slices()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Something measured beside its limit; rates are per second and medians."""

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


async def in_turns(*measurements: Measurement, rounds: int) -> list[list[float]]:
    """The rates of each measurement: all of them once, then all of them again, so that a slow minute slows all alike."""
    rates: list[list[float]] = [[] for _ in measurements]
    for _ in range(rounds):
        for measurement, its_rates in zip(measurements, rates, strict=True):
            its_rates.append(await measurement())
    return rates


async def in_slices(slices: Slices, *timed: Timed, at_once: int = 1) -> list[list[float]]:
    """The rates of work of which so many pieces are under way at once: see `paces`. The measurements take turns."""
    rates: list[list[float]] = [[] for _ in timed]
    for _ in range(slices.rounds):
        for work, its_rates in zip(timed, rates, strict=True):
            its_rates += paces(await work(slices.seconds), 2 * at_once)
    return rates


def paces(done: Sequence[float], group: int) -> list[float]:
    """Pieces per second of each group of so many that were done one after the other.

    When the machine does something else for a second, one group is slow, and the median of the groups is not.
    """
    group = min(group, len(done) - 1)
    return [group / (done[end] - done[end - group]) for end in range(group, len(done), group)]
