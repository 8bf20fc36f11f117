"""Tenants in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from app.api.connections import After, Before, Connection, First, Last, OrderDirection
from app.api.context import Info
from app.api.fields import described, field, of_state, reads
from app.api.moments import AsOf, At, TheMoment, moment
from app.api.node import Id, identifiers
from app.api.timeline import Audited
from app.domain.tenant import TENANT, TenantStatus
from app.eventstore.paging import PageRequest
from app.security.permissions import TOKEN, USER_READ, needs
from projections import tenants
from projections.tenants import TenantFilter, TenantOrder, TenantOrderField

described(
    TenantStatus,
    "Whether a tenant takes new users.",
    {"ACTIVE": "It does.", "SUSPENDED": "It does not, until it is reactivated. The users that it has are not touched."},
)
described(
    TenantOrderField,
    "What tenants can be ordered by.",
    {"CREATED_AT": "When they were created.", "NAME": "The name, whatever its case."},
)


@strawberry.type(description="An organisation whose users, roles and names are its own.")
class Tenant(Audited, stream_type=TENANT.stream_type):
    name: str = of_state("What it is called. Tenants may share a name.")
    status: TenantStatus = of_state("Whether it takes new users.")
    suspended_at: datetime | None = of_state("Since when it has been suspended.")
    suspension_reason: str | None = of_state("Why it is suspended.")
    created_at: datetime = of_state("When it was created.")
    updated_at: datetime = of_state("When it was last changed.")

    @field("The same tenant at a moment; null if it did not exist yet.", reads(timeless=True), TOKEN)
    async def at(self, info: Info, moment: TheMoment) -> Tenant | None:
        return await Tenant.seen_at(info.context, self.stream.id, "moment", moment)


@strawberry.input(
    name="TenantFilter",
    description="Which tenants to list: those that meet every given condition. Names are compared whatever their case.",
)
class TenantFilterInput:
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="With one of these ids.")
    name: str | None = strawberry.field(default=None, description="With this name.")
    status: TenantStatus | None = strawberry.field(default=None, description="In this status.")
    search: str | None = strawberry.field(default=None, description="With this in the name.")

    def read(self) -> TenantFilter:
        """The read model's filter. Raises BadInput for an id that is none."""
        ids = None if self.ids is None else tuple(identifiers("filter.ids", self.ids))
        return TenantFilter(ids=ids, name=self.name, status=self.status, search=self.search)


@strawberry.input(name="TenantOrder", description="One key by which to order tenants.")
class TenantOrderInput:
    field: TenantOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Which end comes first.")


Filter = Annotated[TenantFilterInput | None, strawberry.argument(description="Which tenants; all without it.")]
OrderBy = Annotated[
    list[TenantOrderInput] | None,
    strawberry.argument(description="In which order: by the first key, equals by the second, and so on. Without it by name."),
]


@strawberry.type
class TenantQueries:
    @field("A tenant by id; null when there is none.", reads("tenants", timeless=True), needs(USER_READ))
    async def tenant(self, info: Info, id: Id, at: At = None) -> Tenant | None:
        return await Tenant.found(info.context, id, at)

    @field("Tenants, now or as of a moment.", reads("tenants", timeless=True), needs(USER_READ))
    async def tenants(
        self,
        info: Info,
        filter: Filter = None,
        order_by: OrderBy = None,
        as_of: AsOf = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Tenant]:
        context, then = info.context, moment("asOf", as_of, info.context.head)
        wanted = TenantFilter() if filter is None else filter.read()
        orders = [TenantOrder(each.field, each.direction is OrderDirection.DESC) for each in order_by or ()] or tenants.BY_NAME
        page = await tenants.page(context.reads, wanted, orders, then, PageRequest.checked(first, after, last, before))
        counting = partial(tenants.count, context.reads, wanted, then)
        return Connection(page=page, nodes=Tenant.all_seen(page.items, then), counting=counting)
