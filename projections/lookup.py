"""Finding the rows of an aggregate's read model by their ids, now or then."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.eventstore.database import Query, Reads
from app.eventstore.moment import Moment
from projections.asof import true_at
from projections.projection import AggregateProjection

S = TypeVar("S", bound=msgspec.Struct)


async def by_id(reads: Reads, projection: AggregateProjection[S], id: UUID, as_of: Moment | None) -> Stream[S] | None:
    """The stream, or None if there is or was none."""
    return (await by_ids(reads, projection, [id], as_of)).get(id)


async def by_ids(
    reads: Reads, projection: AggregateProjection[S], ids: Collection[UUID], as_of: Moment | None
) -> dict[UUID, Stream[S]]:
    """Those of the streams that exist or existed. Raises BadInput for a moment that is a version."""
    if as_of is None:
        # The most frequent query by far is not worth composing.
        found = await reads.fetch(projection.by_ids, ids)
    else:
        found = await reads.fetch(_as_of(projection, ids, as_of))
    return {row["id"]: projection.row(row) for row in found}


def _as_of(projection: AggregateProjection[Any], ids: Collection[UUID], as_of: Moment) -> Query:
    assert projection.history is not None, f"{projection.name} keeps no history"
    rows = projection.history
    return sa.select(rows).where(is_among(rows.c.id, ids), *true_at(rows, as_of))


def is_among(column: sa.ColumnElement[UUID], ids: Collection[UUID]) -> sa.ColumnElement[bool]:
    """`column = ANY (ids)`: one statement text, however many ids there are."""
    return column == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Uuid)))
