"""The members of a role, in the graph."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from app.api.connections import Paged
from app.api.context import Context
from app.api.fields import field
from app.api.node import Thing
from app.domain.user import USER
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from projections import members

if TYPE_CHECKING:
    from app.api.users import User


@strawberry.type(description="A user who has or had a role, and their place in the list.")
class RoleMemberEdge:
    cursor: str = strawberry.field(description="The member's place, for `after` and `before`. It holds for this list only.")
    node: Annotated[User, strawberry.lazy("app.api.users")] = strawberry.field(
        description="The user, as of the moment of the list."
    )
    since: datetime = strawberry.field(
        description="When they got the role; or got it back, as they were restored after a deletion."
    )
    until: datetime | None = strawberry.field(
        description="When they lost it or were deleted, even if after the moment of the list; null if they still have it."
    )


@strawberry.type(description="One page of a role's members.")
class RoleMemberConnection(Paged):
    nodes: list[Annotated[User, strawberry.lazy("app.api.users")]] = strawberry.field(description="The users of this page.")

    @field("The users of this page with their cursors, and since when they have the role.")
    def edges(self) -> list[RoleMemberEdge]:
        return [
            RoleMemberEdge(cursor=cursor, node=node, since=member.since, until=member.until)
            for cursor, node, member in zip(self.page.cursors, self.nodes, self.page.items, strict=True)
        ]


async def members_page(context: Context, role_id: UUID, as_of: Moment | None, request: PageRequest) -> RoleMemberConnection:
    """One page of the users who had the role at the moment."""
    if request.after or request.before:
        page = await members.page(context.reads, role_id, as_of, request)
    else:
        page = await context.loaders.members(role_id, as_of, request)
    users: Any = Thing.of_type[USER.stream_type].all_seen((member.user for member in page.items), as_of)
    return RoleMemberConnection(page=page, nodes=users, counting=partial(context.loaders.count_members, role_id, as_of))
