"""Who looked at what, in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from app.api.connections import After, Before, Connection, First, Last
from app.api.context import Info
from app.api.fields import attribute, field, reads
from app.api.node import identifier
from app.eventstore import recorded_reads
from app.eventstore.paging import PageRequest
from app.eventstore.recorded_reads import ReadsFilter
from app.security.permissions import AUDIT_READ, needs


@strawberry.type(description="Somebody looked at the history of something, or at the data of more than one tenant.")
class RecordedRead:
    record: strawberry.Private[recorded_reads.RecordedRead]

    read_at: datetime = attribute("record", "When.")
    reader: str = attribute("record", "Who, by the name under which the log keeps what they do.")
    tenant_id: strawberry.ID | None = attribute("record", "The tenant whose data they could see; null for all tenants.")
    fields: list[str] = attribute("record", "What of this schema they asked for.")
    subjects: list[strawberry.ID] = attribute("record", "The ids that they named.")
    request_id: str = attribute("record", "The id of the request.")
    ip_address: str | None = attribute("record", "The network address that it came from.")


@strawberry.input(name="RecordedReadFilter", description="Which reads to list: those that meet every given condition.")
class RecordedReadFilterInput:
    reader: str | None = strawberry.field(default=None, description="By this reader.")
    subject: strawberry.ID | None = strawberry.field(default=None, description="Of what has this id.")


Filter = Annotated[RecordedReadFilterInput | None, strawberry.argument(description="Which reads; all when not given.")]


@strawberry.type
class RecordedReadQueries:
    @field(
        "Who looked at whose history, or at the data of more than one tenant, the newest first; recorded where "
        "`HINDSIGHT_AUDIT_READS` is on.",
        reads(),
        needs(AUDIT_READ, everywhere=True),
    )
    async def recorded_reads(
        self,
        info: Info,
        filter: Filter = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[RecordedRead]:
        record, given = info.context.backend.recorded_reads, filter or RecordedReadFilterInput()
        subject = None if given.subject is None else identifier("filter.subject", given.subject)
        wanted = ReadsFilter(reader=given.reader, subject=subject)
        page = await record.page(wanted, PageRequest.checked(first, after, last, before))
        return Connection(
            page=page, nodes=[RecordedRead(record=each) for each in page.items], counting=partial(record.count, wanted)
        )
