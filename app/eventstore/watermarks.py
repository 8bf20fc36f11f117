"""Where in the log a span of time lies: between which positions.

For a log that is in the order of time, to a span of watermarks; what was imported later than it occurred widens that.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.eventstore.database import Reads

FOREVER = 2**63 - 1
"""After every position."""


def latest_by(position: str) -> str:
    """SQL for a time after which nothing occurred up to a position: that of the next watermark."""
    return f"""coalesce((
        SELECT mark.latest FROM es.watermarks mark WHERE mark.position >= {position} ORDER BY mark.position LIMIT 1
    ), 'infinity')"""


def earliest_after(position: str) -> str:
    """SQL for a time before which nothing occurred after a position: of the spans from there on, and behind them."""
    return f"""coalesce(least(
        (SELECT min(earliest) FROM es.watermarks WHERE position > {position}),
        (SELECT min(occurred_at) FROM (
            SELECT occurred_at FROM es.events
             WHERE position > greatest({position}, (SELECT coalesce(max(position), 0) FROM es.watermarks))
             ORDER BY position LIMIT es.watermark_span()
        ) behind)
    ), 'infinity')"""


def last_by(time: str) -> str:
    """SQL for a position after which nothing occurred by a time; without one, after every position."""
    return f"""CASE WHEN CAST({time} AS timestamptz) IS NULL OR EXISTS (
        SELECT FROM es.events
         WHERE position > (SELECT coalesce(max(position), 0) FROM es.watermarks) AND occurred_at <= {time}
    ) THEN {FOREVER} ELSE coalesce((SELECT max(position) FROM es.watermarks WHERE earliest <= {time}), 0) END"""


WITHIN = f"""
    SELECT
        coalesce((SELECT position FROM es.watermarks WHERE latest < $1 ORDER BY latest DESC, position DESC LIMIT 1), 0) + 1,
        {last_by("$2")}
"""


class Positions(NamedTuple):
    """From one position to another, both included."""

    first: int
    last: int


async def within(reads: Reads, since: datetime | None, until: datetime | None) -> Positions:
    """Positions outside of which nothing occurred between the two times, both included; either may be open."""
    (row,) = await reads.fetch(WITHIN, since, until)
    return Positions(*row)
