"""Roles in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from app.api.connections import After, Before, Connection, First, Last, OrderDirection
from app.api.context import Info
from app.api.fields import described, field, of_state, reads
from app.api.members import RoleMemberConnection, members_page
from app.api.moments import AsOf, AsOfInput, At, TheMoment, moment
from app.api.node import Id, identifier, identifiers
from app.api.tenants import Tenant
from app.api.timeline import Audited
from app.domain.role import ROLE
from app.eventstore.paging import PageRequest
from app.security.permissions import TOKEN, USER_READ, needs
from projections import roles
from projections.roles import RoleFilter, RoleOrder, RoleOrderField

described(
    RoleOrderField,
    "What roles can be ordered by.",
    {"CREATED_AT": "When they were first defined.", "NAME": "The name, whatever its case."},
)

MembersAsOf = Annotated[
    AsOfInput | None,
    strawberry.argument(description="Who had the role at this moment. Without it, at the one as of which the role is shown."),
]


@strawberry.type(description="A named list of permissions that a tenant gives to its users.")
class Role(Audited, stream_type=ROLE.stream_type):
    name: str = of_state("What it is called; unique among its tenant's roles that are not retired.")
    permissions: list[str] = of_state("All that it permits.")
    created_at: datetime = of_state("When it was first defined.")
    updated_at: datetime = of_state("When it was last changed.")
    retired_at: datetime | None = of_state("Since when nobody can be given it. Those who had it keep it.")

    @field("The tenant whose role it is, as of the same moment.", reads("tenants", timeless=True), TOKEN)
    async def tenant(self, info: Info) -> Tenant:
        return await self.neighbour(info.context, Tenant, self.stream.tenant_id)

    @field(
        "The users who have the role, in the order in which they got it; those who had it at the moment as of which the role "
        "is shown, or at another one. A deleted user has none, and gets theirs back when restored.",
        reads("role_members", "users"),
        needs(USER_READ),
    )
    async def members(
        self,
        info: Info,
        as_of: MembersAsOf = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> RoleMemberConnection:
        then = moment("asOf", as_of, info.context.head) or self.moment
        return await members_page(info.context, self.stream.id, then, PageRequest.checked(first, after, last, before))

    @field("The same role at a moment; null if it did not exist yet.", reads(timeless=True), TOKEN)
    async def at(self, info: Info, moment: TheMoment) -> Role | None:
        return await Role.seen_at(info.context, self.stream.id, "moment", moment)


@strawberry.input(
    name="RoleFilter",
    description="Which roles to list: those that meet every given condition. Names are compared whatever their case.",
)
class RoleFilterInput:
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="With one of these ids.")
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="Of this tenant.")
    name: str | None = strawberry.field(default=None, description="With this name.")
    permission: str | None = strawberry.field(default=None, description="That permit this, by exactly this name.")
    include_retired: bool = strawberry.field(default=False, description="Retired ones too.")

    def read(self) -> RoleFilter:
        """The read model's filter. Raises BadInput for an id that is none."""
        return RoleFilter(
            ids=None if self.ids is None else tuple(identifiers("filter.ids", self.ids)),
            tenant_id=None if self.tenant_id is None else identifier("filter.tenantId", self.tenant_id),
            name=self.name,
            permission=self.permission,
            include_retired=self.include_retired,
        )


@strawberry.input(name="RoleOrder", description="One key by which to order roles.")
class RoleOrderInput:
    field: RoleOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Which end comes first.")


Filter = Annotated[RoleFilterInput | None, strawberry.argument(description="Which roles; without it all that are not retired.")]
OrderBy = Annotated[
    list[RoleOrderInput] | None,
    strawberry.argument(description="In which order: by the first key, equals by the second, and so on. Without it by name."),
]


@strawberry.type
class RoleQueries:
    @field("A role by id, retired or not; null when there is none.", reads("roles", timeless=True), needs(USER_READ))
    async def role(self, info: Info, id: Id, at: At = None) -> Role | None:
        return await Role.found(info.context, id, at)

    @field("Roles, now or as of a moment.", reads("roles", timeless=True), needs(USER_READ))
    async def roles(
        self,
        info: Info,
        filter: Filter = None,
        order_by: OrderBy = None,
        as_of: AsOf = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Role]:
        context, then = info.context, moment("asOf", as_of, info.context.head)
        wanted = RoleFilter() if filter is None else filter.read()
        orders = [RoleOrder(each.field, each.direction is OrderDirection.DESC) for each in order_by or ()] or roles.BY_NAME
        page = await roles.page(context.reads, wanted, orders, then, PageRequest.checked(first, after, last, before))
        counting = partial(roles.count, context.reads, wanted, then)
        return Connection(page=page, nodes=Role.all_seen(page.items, then), counting=counting)
