"""Who has which role: the one read model whose lists span streams, for many users' streams make the members of one role.

An event says which roles a user has from now on, not which ones they lose by it, so that what is folded is a user with
all their memberships; each of these is a row. Rows are kept when they end. That makes the table its own temporal twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.user_events import RolesAssigned, UserDeleted, UserRestored
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from projections.asof import Span, spans_at
from projections.projection import DEPENDENT, READ, TIME, required
from projections.user_spans import UserSpans, ended

# Table

NOW = sa.text("until IS NULL AND NOT user_deleted")

TABLE = sa.Table(
    "role_members",
    READ,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("role_id", sa.Uuid, primary_key=True),
    sa.Column("from_position", sa.BigInteger, primary_key=True),
    sa.Column("to_position", sa.BigInteger),
    required("tenant_id", sa.Uuid()),
    required("since", TIME),
    sa.Column("until", TIME),
    required("user_deleted", sa.Boolean()),
    sa.Index(None, "role_id", "since", "user_id", postgresql_where=NOW),
    sa.Index(None, "role_id", "since", "user_id", "until"),
    info={DEPENDENT: ("role_id", "tenant_id")},
)

# Fold

NO_ROLE = UUID(int=0)
"""Has no members, but every deleted user waits for it, so that also one without roles is known to be deleted."""


class Membership(msgspec.Struct, frozen=True):
    """A user had a role from one event to another; without an end they have it now.

    While a user is deleted they are no member: such a membership only tells which roles come back if the user does.
    """

    user_id: UUID
    role_id: UUID
    from_position: int
    to_position: int | None
    tenant_id: UUID
    since: datetime
    until: datetime | None
    user_deleted: bool


Memberships = tuple[Membership, ...]
"""All that one user has and ever had."""


class RoleMembers(UserSpans[Membership]):
    """One row for each time that a user came to have a role."""

    name = "role_members"
    table = TABLE
    span = Membership
    reads = frozenset(event.__name__ for event in (RolesAssigned, UserDeleted, UserRestored))

    def evolve(self, row: Memberships | None, recorded: RecordedEvent) -> Memberships:
        """End what is so no longer, and begin what is so from now on."""
        memberships = row or ()
        before = {_held(each) for each in memberships if each.to_position is None}
        after = _after(before, recorded)
        return (
            *(each if each.to_position or _held(each) in after else ended(each, recorded) for each in memberships),
            *(_begun(role_id, user_deleted, recorded) for role_id, user_deleted in sorted(after - before)),
        )


def _held(membership: Membership) -> tuple[UUID, bool]:
    return membership.role_id, membership.user_deleted


def _after(before: set[tuple[UUID, bool]], recorded: RecordedEvent) -> set[tuple[UUID, bool]]:
    """The roles that the user has after the event, each with whether the user is deleted."""
    roles, deleted = {role_id for role_id, _ in before}, any(user_deleted for _, user_deleted in before)
    match recorded.event:
        case RolesAssigned(role_ids=role_ids):
            roles = set(role_ids)
        case UserDeleted():
            deleted = True
        case UserRestored():
            deleted = False
        case _:
            raise TypeError(f"{recorded.type} does not change who has a role")
    return {(role_id, deleted) for role_id in (roles | {NO_ROLE} if deleted else roles - {NO_ROLE})}


def _begun(role_id: UUID, user_deleted: bool, recorded: RecordedEvent) -> Membership:
    return Membership(
        user_id=recorded.stream_id,
        role_id=role_id,
        from_position=recorded.position,
        to_position=None,
        tenant_id=recorded.tenant_id,
        since=recorded.occurred_at,
        until=None,
        user_deleted=user_deleted,
    )


ROLE_MEMBERS = RoleMembers()

# Queries

SPAN = Span(TABLE.c.from_position, TABLE.c.to_position, TABLE.c.since, TABLE.c.until)


def true_at(as_of: Moment | None) -> tuple[sa.ColumnElement[bool], ...]:
    """What memberships meet that are or were in force. Raises BadInput for a version."""
    then = (TABLE.c.until.is_(None),) if as_of is None else spans_at(SPAN, as_of)
    return sa.not_(TABLE.c.user_deleted), *then


def holders(role_ids: sa.ColumnElement[Sequence[UUID]], as_of: Moment) -> sa.Select[tuple[UUID]]:
    """For a condition of another query: who had one of the roles, an array, deleted users too. Raises BadInput for a version."""
    one_of_them = TABLE.c.role_id == sa.any_(role_ids)
    return sa.select(TABLE.c.user_id).where(one_of_them, TABLE.c.role_id != NO_ROLE, *spans_at(SPAN, as_of))
