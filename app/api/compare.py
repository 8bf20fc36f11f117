"""The directory at two moments: who appeared, disappeared or changed in between."""

from __future__ import annotations

import enum
from functools import partial
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from app.api.connections import After, Before, Connection, First, Last
from app.api.context import Info
from app.api.fields import field, reads
from app.api.moments import AsOfInput, moment
from app.api.timeline import as_json
from app.api.users import User, UserFilterInput
from app.domain.user import USER
from app.eventstore import timeline
from app.eventstore.moment import Moment
from app.eventstore.paging import PageRequest
from app.security.permissions import USER_READ, needs
from projections import user_changes
from projections.users import UserFilter


@strawberry.enum(description="What became of a user between two moments.")
class UserChangeKind(enum.Enum):
    APPEARED = strawberry.enum_value(
        "appeared", description="They were not there before, or the filter did not let them through."
    )
    DISAPPEARED = strawberry.enum_value(
        "disappeared", description="They are not there after, or the filter does not let them through."
    )
    CHANGED = strawberry.enum_value("changed", description="They were there at both moments, and something about them differs.")


@strawberry.type(description="A field that differs between two moments.")
class FieldDifference:
    field: str = strawberry.field(description="The field's name, such as `fullName`.")
    before: JSON | None = strawberry.field(description="Its value at the first moment; null also where there was nothing.")
    after: JSON | None = strawberry.field(description="Its value at the second moment; null also where there was nothing.")


@strawberry.type(description="A user who is not the same at two moments.")
class UserChange:
    user_id: strawberry.ID = strawberry.field(description="The user's id.")
    kind: UserChangeKind = strawberry.field(description="What became of the user.")
    before: User | None = strawberry.field(description="The user at the first moment.")
    after: User | None = strawberry.field(description="The user at the second moment.")
    fields: list[FieldDifference] = strawberry.field(description="What differs.")


Filter = Annotated[
    UserFilterInput | None,
    strawberry.argument(description="Which users, at each of the moments; without it all that are not deleted."),
]
From = Annotated[AsOfInput, strawberry.argument(name="from", description="The first moment.")]
To = Annotated[AsOfInput, strawberry.argument(description="The second moment; two positions or two times are in their order.")]


@strawberry.type
class CompareQueries:
    @field(
        "The users that differ between two moments, in the order of their ids.",
        reads("users", "user_names", "roles", "role_members", statements=3),
        needs(USER_READ),
    )
    async def compare(
        self,
        info: Info,
        from_: From,
        to: To,
        filter: Filter = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[UserChange]:
        context = info.context
        since, until = moment("from", from_, context.head), moment("to", to, context.head)
        wanted = UserFilter() if filter is None else filter.read()
        request = PageRequest.checked(first, after, last, before)
        page = await user_changes.page(context.reads, wanted, since, until, request)
        return Connection(
            page=page,
            nodes=[_change(each, since, until) for each in page.items],
            counting=partial(user_changes.count, context.reads, wanted, since, until),
        )


def _change(change: user_changes.UserChange, since: Moment, until: Moment) -> UserChange:
    states = (change.before and change.before.state, change.after and change.after.state)
    kind = UserChangeKind.CHANGED
    if change.before is None or change.after is None:
        kind = UserChangeKind.APPEARED if change.before is None else UserChangeKind.DISAPPEARED
    return UserChange(
        user_id=strawberry.ID(str(change.id)),
        kind=kind,
        before=User.seen(change.before, since),
        after=User.seen(change.after, until),
        fields=[
            FieldDifference(field=name, before=as_json(one), after=as_json(other))
            for name, one, other in timeline.differences(USER, *states)
        ],
    )
