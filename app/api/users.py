"""Users in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
import strawberry

from app.api.connections import After, Before, Connection, First, Last, OrderDirection
from app.api.context import Info
from app.api.fields import described, field, of_state, reads
from app.api.logins import Filter as WhichLogins
from app.api.logins import Login, login_filter, logins_page
from app.api.moments import AsOf, At, TheMoment, moment
from app.api.node import Id, identifier, identifiers
from app.api.roles import Role
from app.api.tenants import Tenant
from app.api.timeline import Audited
from app.domain.user import USER, UserStatus
from app.eventstore.moment import check_span
from app.eventstore.paging import Page, PageRequest
from app.security.permissions import EVENT_READ, TOKEN, USER_READ, needs
from projections import users
from projections.users import UserFilter, UserOrder, UserOrderField

described(
    UserStatus,
    "What a user can do.",
    {
        "ACTIVE": "The user can log in.",
        "LOCKED": "The account is locked. A lock that has run out counts until the next login finds it so.",
        "DELETED": "The user was deleted. All that they were is still shown, and they can be restored.",
    },
)
described(
    UserOrderField,
    "What users can be ordered by.",
    {
        "CREATED_AT": "When they were created.",
        "UPDATED_AT": "When anything last happened to them.",
        "USERNAME": "The username, whatever its case.",
        "EMAIL": "The e-mail address, whatever its case.",
    },
)


@strawberry.type(description="Somebody whom a tenant knows.")
class User(Audited, stream_type=USER.stream_type):
    username: str = of_state("The name to log in with; unique among the tenant's users that are not deleted.")
    email: str = of_state("The e-mail address; unique among the tenant's users that are not deleted.")
    full_name: str | None = of_state("What the user is called, if known.")
    phone: str | None = of_state("The phone number in the form E.164, such as +493012345678, if known.")
    status: UserStatus = of_state("What the user can do.")
    login_attempts: int = of_state("Failed logins since the last one that succeeded, or since the last unlocking.")
    locked_until: datetime | None = of_state("When the lock ends by itself, if there is one that does.")
    lock_reason: str | None = of_state("Why the account is locked.")
    last_login_at: datetime | None = of_state("When the user last logged in.")
    password_changed_at: datetime | None = of_state("When the password was last changed.")
    created_at: datetime = of_state("When the user was created.")
    updated_at: datetime = of_state("When anything last happened to the user.")
    deleted_at: datetime | None = of_state("When the user was deleted.")

    @field("The tenant that the user belongs to, as of the same moment.", reads("tenants", timeless=True), TOKEN)
    async def tenant(self, info: Info) -> Tenant:
        return await self.neighbour(info.context, Tenant, self.stream.tenant_id)

    @field("The user's roles, as of the same moment.", reads("roles", timeless=True), TOKEN)
    async def roles(self, info: Info) -> list[Role]:
        return await self.neighbours(info.context, Role, self.stream.state.role_ids)

    @field("All that the user's roles permit, as of the same moment.", reads("roles", timeless=True), TOKEN)
    async def permissions(self, info: Info) -> list[str]:
        roles = await self.neighbours(info.context, Role, self.stream.state.role_ids)
        return sorted({permission for role in roles for permission in role.stream.state.permissions})

    @field(
        "Attempts to log in as the user, the newest first; up to the moment as of which the user is shown.",
        reads("logins"),
        needs(EVENT_READ),
    )
    async def logins(
        self,
        info: Info,
        filter: WhichLogins = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Login]:
        shown = msgspec.structs.replace(
            login_filter(filter), user_id=self.stream.id, up_to_position=self.stream.position if self.moment else None
        )
        return await logins_page(info.context, shown, PageRequest.checked(first, after, last, before))

    @field("The same user at a moment; null if they did not exist yet.", reads(timeless=True), TOKEN)
    async def at(self, info: Info, moment: TheMoment) -> User | None:
        return await User.seen_at(info.context, self.stream.id, "moment", moment)


@strawberry.input(
    name="UserFilter",
    description="Which users to list: those that meet every given condition. Deleted users are left out unless `status` or "
    "`includeDeleted` asks for them. Names and addresses are compared whatever their case.",
)
class UserFilterInput:
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="With one of these ids.")
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="Of this tenant.")
    username: str | None = strawberry.field(default=None, description="With this username.")
    username_prefix: str | None = strawberry.field(default=None, description="With a username that begins so.")
    email: str | None = strawberry.field(default=None, description="With this e-mail address.")
    status: UserStatus | None = strawberry.field(default=None, description="In this status.")
    role_id: strawberry.ID | None = strawberry.field(default=None, description="With this role.")
    role_name: str | None = strawberry.field(default=None, description="With a role of this name, in whichever tenant.")
    created_after: datetime | None = strawberry.field(
        default=None, description="Created at this moment or later: no later than `createdBefore`."
    )
    created_before: datetime | None = strawberry.field(default=None, description="Created before this moment.")
    search: str | None = strawberry.field(default=None, description="With this in the username, e-mail address or full name.")
    include_deleted: bool = strawberry.field(default=False, description="Deleted ones too.")
    and_: list[UserFilterInput] | None = strawberry.field(
        name="and", default=None, description="That meet all of these conditions too. Conditions may be nested three deep."
    )
    or_: list[UserFilterInput] | None = strawberry.field(
        name="or", default=None, description="That meet at least one of these conditions too."
    )
    not_: UserFilterInput | None = strawberry.field(name="not", default=None, description="That do not meet this condition.")

    def read(self, argument: str = "filter") -> UserFilter:
        """The read model's filter. Raises BadInput for an id that is none, and for a span that ends before it starts."""
        check_span(f"{argument}.createdAfter", self.created_after, "createdBefore", self.created_before)
        return UserFilter(
            ids=None if self.ids is None else tuple(identifiers(f"{argument}.ids", self.ids)),
            tenant_id=None if self.tenant_id is None else identifier(f"{argument}.tenantId", self.tenant_id),
            username=self.username,
            username_prefix=self.username_prefix,
            email=self.email,
            status=self.status,
            role_id=None if self.role_id is None else identifier(f"{argument}.roleId", self.role_id),
            role_name=self.role_name,
            created_after=self.created_after,
            created_before=self.created_before,
            search=self.search,
            include_deleted=self.include_deleted,
            and_=tuple(each.read(f"{argument}.and[{place}]") for place, each in enumerate(self.and_ or ())),
            or_=tuple(each.read(f"{argument}.or[{place}]") for place, each in enumerate(self.or_ or ())),
            not_=None if self.not_ is None else self.not_.read(f"{argument}.not"),
        )


@strawberry.input(name="UserOrder", description="One key by which to order users.")
class UserOrderInput:
    field: UserOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Which end comes first.")


Username = Annotated[str, strawberry.argument(description="The username, whatever its case.")]
InTenant = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="The tenant. May be left out as long as only one tenant has such a user."),
]
Filter = Annotated[UserFilterInput | None, strawberry.argument(description="Which users; without it all that are not deleted.")]
OrderBy = Annotated[
    list[UserOrderInput] | None,
    strawberry.argument(
        description="In which order: by the first key, equals by the second, and so on. Without it the oldest first."
    ),
]


@strawberry.type
class UserQueries:
    @field("A user by id, deleted or not; null when there is none.", reads("users", timeless=True), needs(USER_READ, own="id"))
    async def user(self, info: Info, id: Id, at: At = None) -> User | None:
        return await User.found(info.context, id, at)

    @field("A user who is not deleted by username; null when there is none.", reads("users", timeless=True), needs(USER_READ))
    async def user_by_username(
        self, info: Info, username: Username, tenant_id: InTenant = None, as_of: AsOf = None
    ) -> User | None:
        then = moment("asOf", as_of, info.context.head)
        tenant = None if tenant_id is None else identifier("tenantId", tenant_id)
        return User.seen(await users.by_username(info.context.reads, username, tenant, then), then)

    @field(
        "Users, now or as of a moment.",
        reads("users", "user_names", "roles", "role_members", timeless=True),
        needs(USER_READ),
    )
    async def users(
        self,
        info: Info,
        filter: Filter = None,
        order_by: OrderBy = None,
        as_of: AsOf = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[User]:
        context, then = info.context, moment("asOf", as_of, info.context.head)
        wanted = UserFilter() if filter is None else filter.read()
        orders = [UserOrder(each.field, each.direction is OrderDirection.DESC) for each in order_by or ()] or users.OLDEST_FIRST
        request = PageRequest.checked(first, after, last, before)
        counting = partial(users.count, context.reads, wanted, then)
        if info.columns is not None:
            rows: Page[Any] = await users.rows(context.reads, info.columns, wanted, orders, then, request)
            return Connection(page=rows, nodes=rows.items, counting=counting)
        page = await users.page(context.reads, wanted, orders, then, request)
        return Connection(page=page, nodes=User.all_seen(page.items, then), counting=counting)
