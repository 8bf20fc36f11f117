"""Who has which role: the one read model whose lists span streams, for many users' streams make the members of one role.

An event says which roles a user has from now on, not which ones they lose by it, so that what is folded is a user with
all their memberships; each of these is a row. Rows are kept when they end. That makes the table its own temporal twin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.domain.user import User
from app.domain.user_events import RolesAssigned, UserDeleted, UserRestored
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from app.eventstore.recorded import RecordedEvent
from projections import keyset, users
from projections.asof import Span, rows_as_of, spans_at
from projections.keyset import By
from projections.projection import READ, TIME, Key, Projection, required

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


class RoleMembers(Projection[Memberships]):
    """One row for each time that a user came to have a role."""

    name = "role_members"
    table = TABLE
    key_columns = ("user_id",)
    by_stream = True
    reads = frozenset(event.__name__ for event in (RolesAssigned, UserDeleted, UserRestored))

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        """The user."""
        return ((recorded.stream_id,),)

    def evolve(self, row: Memberships | None, recorded: RecordedEvent) -> Memberships:
        """End what is so no longer, and begin what is so from now on."""
        memberships = row or ()
        before = {_held(each) for each in memberships if each.to_position is None}
        after = _after(before, recorded)
        return (
            *(each if each.to_position or _held(each) in after else _ended(each, recorded) for each in memberships),
            *(_begun(role_id, user_deleted, recorded) for role_id, user_deleted in sorted(after - before)),
        )

    def to_table(self, row: Memberships) -> Iterable[tuple[Any, ...]]:
        """Each membership, in the table's order."""
        return map(msgspec.structs.astuple, row)

    def from_table(self, records: Sequence[asyncpg.Record]) -> Memberships:
        """As they were written."""
        return tuple(Membership(*record) for record in records)


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


def _ended(membership: Membership, recorded: RecordedEvent) -> Membership:
    return msgspec.structs.replace(membership, to_position=recorded.position, until=recorded.occurred_at)


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


class Member(NamedTuple):
    """A user with a role, as of the moment asked about."""

    user: Stream[User]
    since: datetime
    until: datetime | None
    """When that ended, whether or not it had at the moment asked about."""


FIRST_PAGE = PageRequest()
ORDER = [By(TABLE.c.since, False), By(TABLE.c.user_id, False)]


async def page(reads: Reads, role_id: UUID, as_of: Moment | None = None, request: PageRequest = FIRST_PAGE) -> Page[Member]:
    """One page of the users who have or had the role, in the order in which they got it. Raises BadInput."""
    query = _members(as_of).where(TABLE.c.role_id == role_id)
    return await keyset.page(reads, query, ORDER, request, _mark(as_of, role_id), _member)


async def first_pages(
    reads: Reads, role_ids: Sequence[UUID], as_of: Moment | None = None, request: PageRequest = FIRST_PAGE
) -> Mapping[UUID, Page[Member]]:
    """For each role the page that `page` gives, in one statement; the request has no cursor. Raises BadInput."""
    mark = partial(_mark, as_of)
    return await keyset.first_pages(reads, _members(as_of), TABLE.c.role_id, role_ids, ORDER, request, mark, _member)


async def counts(reads: Reads, role_ids: Sequence[UUID], as_of: Moment | None = None) -> Mapping[UUID, int]:
    """How many users have or had each of the roles, in one statement. Raises BadInput."""
    return await keyset.counts(reads, sa.select(TABLE).where(*_true_at(as_of)), TABLE.c.role_id, role_ids)


def _members(as_of: Moment | None) -> sa.Select[Any]:
    row = TABLE.c
    query, user = rows_as_of(users.TABLE, users.HISTORY, as_of)
    return query.add_columns(row.since, row.until, row.user_id).where(user.id == row.user_id, *_true_at(as_of))


def _true_at(as_of: Moment | None) -> tuple[sa.ColumnElement[bool], ...]:
    row = TABLE.c
    span = Span(row.from_position, row.to_position, row.since, row.until)
    then = (row.until.is_(None),) if as_of is None else spans_at(span, as_of)
    return sa.not_(row.user_deleted), *then


def _mark(as_of: Moment | None, role_id: UUID) -> str:
    return fingerprint("role_members", role_id, as_of)


def _member(record: asyncpg.Record) -> Member:
    return Member(users.USERS.row(record), record["since"], record["until"])
