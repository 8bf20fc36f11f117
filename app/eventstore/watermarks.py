"""Where in the log a span of time lies: between which positions.

For a log that is in the order of time, to a span of watermarks; what was imported later than it occurred widens that.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.eventstore.database import Reads

WITHIN = """
    SELECT
        coalesce((SELECT position FROM es.watermarks WHERE latest < $1 ORDER BY latest DESC, position DESC LIMIT 1), 0) + 1,
        CASE WHEN $2::timestamptz IS NULL OR EXISTS (
            SELECT FROM es.events
             WHERE position > (SELECT coalesce(max(position), 0) FROM es.watermarks) AND occurred_at <= $2
        ) THEN $3 ELSE coalesce((SELECT max(position) FROM es.watermarks WHERE earliest <= $2), 0) END
"""

FOREVER = 2**63 - 1
"""After every position."""


class Positions(NamedTuple):
    """From one position to another, both included."""

    first: int
    last: int


async def within(reads: Reads, since: datetime | None, until: datetime | None) -> Positions:
    """Positions outside of which nothing occurred between the two times, both included; either may be open."""
    (row,) = await reads.fetch(WITHIN, since, until, FOREVER)
    return Positions(*row)
