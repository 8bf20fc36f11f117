"""The record of reads: who looked at whose history, or at more than one tenant's data. Only ever added to."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.eventstore.database import Database
from app.eventstore.paging import Page, PageRequest, decode_cursor, encode_cursor, fingerprint
from app.eventstore.tables import RECORDED_READS

NOTE = """
    INSERT INTO es.recorded_reads (read_at, reader, tenant_id, fields, subjects, request_id, ip_address)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


class RecordedRead(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody looked at something."""

    read_at: datetime
    reader: str
    tenant_id: UUID | None
    """The tenant whose data the reader could see; None for those of all."""
    fields: Collection[str]
    """What of the API was asked for."""
    subjects: Collection[UUID]
    """The ids that were named."""
    request_id: str
    ip_address: str | None
    number: int = 0
    """Its place in the record; given by the database."""


class ReadsFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which reads: those that meet every given condition."""

    reader: str | None = None
    subject: UUID | None = None


class RecordedReads:
    """Writes the record, where `on` says so, and reads it."""

    def __init__(self, database: Database, *, on: bool) -> None:
        self._database = database
        self.on = on

    async def note(self, read: RecordedRead) -> None:
        """Add to the record. It is there when this returns."""
        values = (read.read_at, read.reader, read.tenant_id, list(read.fields), list(read.subjects))
        await self._database.fetch(NOTE, *values, read.request_id, read.ip_address)

    async def page(self, filter: ReadsFilter, request: PageRequest) -> Page[RecordedRead]:
        """One page, the newest first. Raises BadInput."""
        number, mark = RECORDED_READS.c.number, fingerprint("recorded reads", filter)
        query = _filtered(sa.select(RECORDED_READS), filter)
        for argument, cursor, onwards in (("after", request.after, False), ("before", request.before, True)):
            if cursor is not None:
                (value,) = decode_cursor(argument, cursor, mark, [int])
                query = query.where(number > value if onwards else number < value)
        order = number.asc() if request.from_the_end else number.desc()
        rows = await self._database.fetch(query.order_by(order).limit(request.size + 1))
        return request.page(rows, lambda row: RecordedRead(**row), lambda row: encode_cursor(mark, [row["number"]]))

    async def count(self, filter: ReadsFilter) -> int:
        """How many there are."""
        total: int = await self._database.fetchval(_filtered(sa.select(sa.func.count()).select_from(RECORDED_READS), filter))
        return total


def _filtered(query: sa.Select[Any], filter: ReadsFilter) -> sa.Select[Any]:
    if filter.reader is not None:
        query = query.where(RECORDED_READS.c.reader == filter.reader)
    if filter.subject is not None:
        query = query.where(RECORDED_READS.c.subjects.contains([filter.subject]))
    return query
