"""Attempts to log in, in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.api.connections import After, Before, Connection, First, Last
from app.api.context import Context, Info
from app.api.fields import attribute, field, reads
from app.api.node import Thing, identifier
from app.api.scalars import Position
from app.domain.user import USER
from app.eventstore.moment import check_span
from app.eventstore.paging import PageRequest
from app.security.permissions import EVENT_READ, USER_READ, needs
from projections import logins
from projections.logins import LoginFilter

if TYPE_CHECKING:
    from app.api.users import User


@strawberry.type(description="An attempt to log in as a user. It never changes.")
class Login:
    attempt: strawberry.Private[logins.Login]

    id: strawberry.ID = attribute("attempt", "The id of the event that tells of it.")
    occurred_at: datetime = attribute("attempt", "When it was made.")
    succeeded: bool = attribute("attempt", "Whether the user got in.")
    ip_address: str | None = attribute("attempt", "The address that it came from, if known.")
    user_agent: str | None = attribute("attempt", "The program that it came from, as it named itself.")
    position: Position = attribute("attempt", "The place of its event in the log.")

    @field("The user as whom somebody tried to log in, as they are now.", reads("users"), needs(USER_READ))
    async def user(self, info: Info) -> Annotated[User, strawberry.lazy("app.api.users")] | None:
        stream = await info.context.loaders.stream(USER.stream_type, self.attempt.user_id, None)
        return Thing.of_type[USER.stream_type].seen(stream)  # type: ignore[return-value]  # a User


@strawberry.input(name="LoginFilter", description="Which attempts to log in to list: those that meet every given condition.")
class LoginFilterInput:
    user_id: strawberry.ID | None = strawberry.field(default=None, description="As this user.")
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="As any user of this tenant.")
    succeeded: bool | None = strawberry.field(default=None, description="Only those that succeeded, or only those that did not.")
    occurred_after: datetime | None = strawberry.field(
        default=None, description="Made at this moment or later: no later than `occurredBefore`."
    )
    occurred_before: datetime | None = strawberry.field(default=None, description="Made before this moment.")


Filter = Annotated[LoginFilterInput | None, strawberry.argument(description="Which attempts; all when not given.")]


def login_filter(given: LoginFilterInput | None) -> LoginFilter:
    """The read model's filter. Raises BadInput for an id that is none, and for a span that ends before it starts."""
    if given is None:
        return LoginFilter()
    check_span("filter.occurredAfter", given.occurred_after, "occurredBefore", given.occurred_before)
    return LoginFilter(
        user_id=None if given.user_id is None else identifier("filter.userId", given.user_id),
        tenant_id=None if given.tenant_id is None else identifier("filter.tenantId", given.tenant_id),
        succeeded=given.succeeded,
        occurred_after=given.occurred_after,
        occurred_before=given.occurred_before,
    )


async def logins_page(context: Context, filter: LoginFilter, request: PageRequest) -> Connection[Login]:
    """One page of the attempts that the filter lets through."""
    page = await logins.page(context.reads, filter, request)
    nodes = [Login(attempt=attempt) for attempt in page.items]
    return Connection(page=page, nodes=nodes, counting=partial(logins.count, context.reads, filter))


@strawberry.type
class LoginQueries:
    @field("Attempts to log in, the newest first.", reads("logins"), needs(EVENT_READ))
    async def logins(
        self,
        info: Info,
        filter: Filter = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Login]:
        return await logins_page(info.context, login_filter(filter), PageRequest.checked(first, after, last, before))
