"""How many events there are, counted by a projection."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

import strawberry

from app.api.context import Info
from app.api.event_types import known_types
from app.api.fields import field, reads
from app.api.node import identifier
from app.api.tenants import Tenant
from app.domain.tenant import TENANT
from app.eventstore.moment import check_span
from app.security.permissions import EVENT_READ, TOKEN, needs
from projections import event_stats
from projections.event_stats import EventStatsFilter


@strawberry.input(name="EventStatsFilter", description="Which events to count: those that meet every given condition.")
class EventStatsFilterInput:
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="Of this tenant.")
    types: list[str] | None = strawberry.field(default=None, description="Of one of these kinds, such as `UserCreated`.")
    from_day: date | None = strawberry.field(
        default=None, description="That occurred on this day or later: no later than `toDay`."
    )
    to_day: date | None = strawberry.field(default=None, description="That occurred on this day or earlier.")

    def read(self) -> EventStatsFilter:
        """The read model's filter. Raises BadInput for an id that is none, an unknown type, and a span that ends too early."""
        check_span("filter.fromDay", self.from_day, "toDay", self.to_day)
        return EventStatsFilter(
            tenant_id=None if self.tenant_id is None else identifier("filter.tenantId", self.tenant_id),
            types=None if self.types is None else known_types("filter.types", self.types),
            from_day=self.from_day,
            to_day=self.to_day,
        )


@strawberry.type(description="How many events of a kind there are.")
class TypeCount:
    type: str = strawberry.field(description="The kind of event.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="How many events a tenant has.")
class TenantCount:
    id: strawberry.Private[UUID]
    count: int = strawberry.field(description="How many.")

    @field("The tenant, as it is now.", reads("tenants"), TOKEN)
    async def tenant(self, info: Info) -> Tenant | None:
        return Tenant.seen(await info.context.loaders.stream(TENANT.stream_type, self.id, None))


@strawberry.type(description="How many events occurred on a day.")
class DayCount:
    day: date = strawberry.field(description="The day, in UTC.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="How many events there are. Each number is counted only when asked for.")
class EventStats:
    filter: strawberry.Private[EventStatsFilter]

    @field("How many in all.", reads("event_stats"), TOKEN)
    async def total(self, info: Info) -> int:
        return await event_stats.total(info.context.reads, self.filter)

    @field("How many of each kind, the most frequent first.", reads("event_stats"), TOKEN)
    async def by_type(self, info: Info) -> list[TypeCount]:
        counts = await event_stats.by_type(info.context.reads, self.filter)
        return [TypeCount(type=type, count=count) for type, count in counts.items()]

    @field("How many of each tenant, the one with the most first.", reads("event_stats"), TOKEN)
    async def by_tenant(self, info: Info) -> list[TenantCount]:
        counts = await event_stats.by_tenant(info.context.reads, self.filter)
        return [TenantCount(id=id, count=count) for id, count in counts.items()]

    @field("How many on each day that had any, the first day first.", reads("event_stats"), TOKEN)
    async def by_day(self, info: Info) -> list[DayCount]:
        counts = await event_stats.by_day(info.context.reads, self.filter)
        return [DayCount(day=day, count=count) for day, count in counts.items()]


Filter = Annotated[EventStatsFilterInput | None, strawberry.argument(description="Which events; all without it.")]


@strawberry.type
class StatsQueries:
    @field("How many events there are, by kind, tenant and day.", needs=needs(EVENT_READ))
    def event_stats(self, filter: Filter = None) -> EventStats:
        return EventStats(filter=EventStatsFilter() if filter is None else filter.read())
