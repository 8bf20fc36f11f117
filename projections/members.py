"""The members of roles, now and at any moment: lists of users that the read model of memberships names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.domain.user import User
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest, fingerprint
from projections import keyset, users
from projections.asof import given_by, version_at
from projections.keyset import By
from projections.role_members import TABLE, true_at


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
    return await keyset.counts(reads, sa.select(TABLE).where(*true_at(as_of)), TABLE.c.role_id, role_ids)


def _members(as_of: Moment | None) -> sa.Select[Any]:
    if as_of is None:
        return _with(users.TABLE, users.TABLE.c.id == TABLE.c.user_id).where(*true_at(None))
    by, moment = given_by(as_of)
    past = version_at(users.HISTORY, TABLE.c.user_id, by)
    return _with(past, sa.true()).where(*true_at(as_of)).params({by.key: moment})


def _with(user: sa.FromClause, of_member: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns = (user.c[column.name] for column in users.TABLE.c)
    return sa.select(*columns, TABLE.c.since, TABLE.c.until, TABLE.c.user_id).select_from(TABLE.join(user, of_member))


def _mark(as_of: Moment | None, role_id: UUID) -> str:
    return fingerprint("role_members", role_id, as_of)


def _member(record: asyncpg.Record) -> Member:
    return Member(users.USERS.row(record), record["since"], record["until"])
