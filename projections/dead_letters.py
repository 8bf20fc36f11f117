"""Questions about the events that wait because one of them could not be folded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from app.domain.aggregate import Stream
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from app.eventstore.tables import DEAD_LETTERS, EVENTS, GENERATIONS
from projections import keyset
from projections.asof import Columns
from projections.keyset import By
from projections.parking import text_of
from projections.projection import Key

PLACE = (DEAD_LETTERS.c.projection, DEAD_LETTERS.c.generation, DEAD_LETTERS.c.key)

FIRST_WAITING = """
    SELECT DISTINCT ON (letter.key) letter.key, position, event.occurred_at
    FROM es.generations current
    JOIN es.dead_letters letter USING (projection, generation)
    JOIN es.events AS event USING (position)
    WHERE current.live AND projection = $1 AND letter.key = ANY ($2) AND letter.skipped_at IS NULL
    ORDER BY letter.key, position
"""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that could not be folded, or that was skipped."""

    projection: str
    generation: int
    key: str
    """Which row lacks it: the values of the row's key with / between them, or `stream:` and a stream's id."""
    position: int
    event_id: UUID
    type: str
    stream_id: UUID
    error: str | None
    """What is wrong with it; None for an event that waited behind another and was not tried yet."""
    traceback: str | None
    attempts: int
    behind: int
    """How many later events of its key wait behind it."""
    parked_at: datetime
    skipped_at: datetime | None
    skipped_by: str | None
    skipped_reason: str | None


class Waiting(msgspec.Struct, frozen=True):
    """The first event that a row lacks."""

    position: int
    occurred_at: datetime

    def is_lacked_by(self, stream: Stream[Any], moment: Moment | None) -> bool:
        """Whether the stream, as it was at the moment, should hold the event and does not. None is now."""
        if self.position <= stream.position or (moment and moment.position is not None and moment.position < self.position):
            return False
        return moment is None or moment.timestamp is None or moment.timestamp >= self.occurred_at


FIRST_PAGE = PageRequest()


async def page(
    reads: Reads,
    projection: str | None = None,
    key: str | None = None,
    *,
    skipped: bool = False,
    request: PageRequest = FIRST_PAGE,
) -> Page[DeadLetter]:
    """The first waiting event of each parked key of the generations that are live or newer; or all that were skipped, ever.

    In the order of projections, generations and keys. Raises BadInput.
    """
    query, letter = _letters(projection, key, skipped)
    orders = [By(letter[column.name], descending=False) for column in DEAD_LETTERS.primary_key.columns]
    return await keyset.page(reads, query, orders, request, fingerprint("dead_letters", projection, key, skipped), _letter)


async def count(reads: Reads, projection: str | None = None, key: str | None = None, *, skipped: bool = False) -> int:
    """How many there are in all pages."""
    query, _ = _letters(projection, key, skipped)
    return await keyset.count(reads, query)


async def first_waiting(reads: Reads, projection: str, keys: Collection[Key]) -> Mapping[Key, Waiting]:
    """The first event that each of these rows of the live generation lacks, for those that lack one."""
    by_text = {text_of(key): key for key in keys}
    found = await reads.fetch(FIRST_WAITING, projection, list(by_text))
    return {by_text[row["key"]]: Waiting(row["position"], row["occurred_at"]) for row in found}


def _letters(projection: str | None, key: str | None, skipped: bool) -> tuple[sa.Select[Any], Columns]:
    """The query without order or limit, and the columns of its letters."""
    letter = DEAD_LETTERS.c
    wanted = sa.select(DEAD_LETTERS).where(letter.skipped_at.isnot(None) if skipped else letter.skipped_at.is_(None))
    if projection is not None:
        wanted = wanted.where(letter.projection == projection)
    if key is not None:
        wanted = wanted.where(letter.key == key)
    if not skipped:
        wanted = wanted.where(_served()).ext(distinct_on(*PLACE)).order_by(*PLACE, letter.position)
    found = wanted.subquery()
    later = DEAD_LETTERS.alias()
    of_its_key = (later.c[column.name] == found.c[column.name] for column in PLACE)
    behind = sa.select(sa.func.count()).where(*of_its_key, later.c.position > found.c.position, later.c.skipped_at.is_(None))
    query = sa.select(found, EVENTS.c.type, EVENTS.c.stream_id, behind.scalar_subquery().label("behind"))
    return query.join_from(found, EVENTS, EVENTS.c.position == found.c.position), cast(Columns, found.c)


def _served() -> sa.ColumnElement[bool]:
    """Of a generation that is live, or newer and still being built."""
    live, letter = GENERATIONS.c, DEAD_LETTERS.c
    return sa.exists().where(live.live, live.projection == letter.projection, live.generation <= letter.generation)


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(**dict(row))
