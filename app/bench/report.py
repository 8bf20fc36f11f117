"""The line that a benchmark reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from statistics import median

import msgspec

Measurement = Callable[[], Awaitable[float]]
"""Does some work and returns how much of it per second."""

Timed = Callable[[float], Awaitable[float]]
"""The same for about so many seconds; it has its connections already."""


class Slices(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long something is measured."""

    rounds: int = 25
    """Many and short: what the machine does besides slows a few of them, and not their median."""
    seconds: float = 0.1


SLICES = Slices()


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Something measured beside its limit; rates are per second and medians over the rounds."""

    work: str
    measured: float
    limit: float
    limit_is: str
    ratio: float
    wanted: float | None
    """The least ratio that is good enough, if there is an opinion on it."""
    met: bool | None


def line(work: str, measured: Sequence[float], limit: Sequence[float], limit_is: str, wanted: float | None = None) -> Line:
    """The line for the rates of some rounds."""
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


async def in_slices(slices: Slices, *timed: Timed) -> list[list[float]]:
    """The same for measurements that can be as short as one likes."""
    return await in_turns(*(partial(each, slices.seconds) for each in timed), rounds=slices.rounds)
