"""The line that a benchmark reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import median

import msgspec

ROUNDS = 3
"""Often enough to have a median, seldom enough to have lunch."""

Measurement = Callable[[], Awaitable[float]]
"""Does some work and returns how much of it per second."""


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


async def in_turns(*measurements: Measurement, rounds: int = ROUNDS) -> list[list[float]]:
    """The rates of each measurement: all of them once, then all of them again, so that a slow minute slows all alike."""
    rates: list[list[float]] = [[] for _ in measurements]
    for _ in range(rounds):
        for measurement, its_rates in zip(measurements, rates, strict=True):
            its_rates.append(await measurement())
    return rates
