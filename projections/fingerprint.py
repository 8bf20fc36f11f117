"""What tells whether a table was folded by the code that this process has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from app.eventstore.codec import Codec
from app.eventstore.sources import digest, sources
from projections.projection import Projection, statistics


def fingerprint(projection: Projection[Any], codec: Codec) -> str:
    """A hash of all that decides what the projection's rows are: tables, event versions, and the source of the fold.

    The source is that of the projection's functions and of every function and class of ours that they name, directly or
    not. A changed comment makes another hash too: one rebuild too many is better than one too few.
    """
    versions = (f"{name} {codec.schema_version(name)}" for name in sorted(projection.reads))
    return digest((*definitions(projection), *versions, *sources(projection.sources())))


def definitions(projection: Projection[Any]) -> Iterator[str]:
    """The tables, their indexes and what is told of their columns, as SQL."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy declares it
    for table in projection.tables:
        yield str(CreateTable(table).compile(dialect=dialect))
        yield from statistics(table)
        yield from sorted(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
