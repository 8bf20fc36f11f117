"""Which users appeared, disappeared or changed between two moments: the events in between name them, the twin says how."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa

from app.domain.aggregate import Stream
from app.domain.user import User
from app.eventstore.database import Reads
from app.eventstore.moment import Moment, check_span
from app.eventstore.paging import Page, PageRequest, fingerprint
from app.eventstore.tables import EVENTS
from app.eventstore.watermarks import FOREVER, Positions, within
from projections import keyset, users
from projections.asof import rows_as_of
from projections.lookup import is_among
from projections.users import TABLE, USERS, UserFilter

SAYS_NOTHING = {"id", "tenant_id", "version", "position", "updated_at", *USERS.derived}
"""Columns by which a user does not differ: what never changes, what changes with every event, what follows from others."""

FEW = 10_000
"""Events of which a page reads all to learn whom they are about."""


class UserChange(msgspec.Struct, frozen=True, kw_only=True):
    """A user at two moments; None at one at which the filter does not let them through, or there was none."""

    id: UUID
    before: Stream[User] | None
    after: Stream[User] | None


class _Changed(msgspec.Struct, frozen=True):
    id: UUID
    was: bool
    is_: bool


async def page(reads: Reads, filter: UserFilter, since: Moment, until: Moment, request: PageRequest) -> Page[UserChange]:
    """One page of the users that differ, in the order of their ids. Raises BadInput."""
    query, id = _query(filter, since, until, await _positions(reads, since, until))
    mark = fingerprint("user changes", filter, since, until)
    changed = await keyset.page(reads, query, keyset.total_order([], id), request, mark, _changed)
    ids = [each.id for each in changed.items]
    before, after = await users.by_ids(reads, ids, since), await users.by_ids(reads, ids, until)
    items = [
        UserChange(id=each.id, before=before[each.id] if each.was else None, after=after[each.id] if each.is_ else None)
        for each in changed.items
    ]
    return Page(items=items, cursors=changed.cursors, has_next=changed.has_next, has_previous=changed.has_previous)


async def count(reads: Reads, filter: UserFilter, since: Moment, until: Moment) -> int:
    """How many users differ. Raises BadInput."""
    return await keyset.count(reads, _query(filter, since, until, await _positions(reads, since, until))[0])


def _query(filter: UserFilter, since: Moment, until: Moment, where: Positions) -> tuple[sa.Select[Any], Any]:
    counts = EVENTS.c.position.between(*where), EVENTS.c.type.in_(sorted(USERS.reads)), _between(since, until)
    few = where.last - where.first < FEW
    some = (_named_by(*counts) if few else _among_all(filter, *counts)).subquery("touched")
    before, after = (
        users.filtered(filter, moment, rows_as_of)[0].subquery(name) for moment, name in ((since, "before"), (until, "after"))
    )
    was, is_ = before.c.id.is_not(None), after.c.id.is_not(None)
    told = [column.name for column in TABLE.columns if column.name not in SAYS_NOTHING]
    then, now = (sa.tuple_(*(side.c[name] for name in told)) for side in (before, after))
    query = (
        sa.select(some.c.id, was.label("was"), is_.label("is"))
        .select_from(some.outerjoin(before, before.c.id == some.c.id).outerjoin(after, after.c.id == some.c.id))
        .where((was != is_) | then.is_distinct_from(now))
    )
    return query, some.c.id


def _named_by(*event: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Whom such events are about."""
    return sa.select(EVENTS.c.stream_id.label("id")).distinct().where(*event)


def _among_all(filter: UserFilter, *event: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The same users, gone through by their ids: of many events nearly everybody has one, and a page ends soon."""
    own = sa.select(EVENTS.c.position).where(EVENTS.c.stream_id == TABLE.c.id, *event)
    one = own.limit(sa.literal_column("1")).lateral("one")
    everybody = sa.select(TABLE.c.id).select_from(TABLE.join(one, sa.true()))
    if filter.ids is not None:
        everybody = everybody.where(is_among(TABLE.c.id, filter.ids))
    return everybody if filter.tenant_id is None else everybody.where(TABLE.c.tenant_id == filter.tenant_id)


async def _positions(reads: Reads, since: Moment, until: Moment) -> Positions:
    """Those outside of which no event counts at one of the moments and not at the other."""
    times = [moment.timestamp for moment in (since, until) if moment.timestamp is not None]
    reached = [moment.position for moment in (since, until) if moment.position is not None]
    first, last = await within(reads, times[0], times[-1]) if times else Positions(FOREVER, 0)
    return Positions(min([first, *(position + 1 for position in reached)]), max([last, *reached]))


def _between(since: Moment, until: Moment) -> sa.ColumnElement[bool]:
    """What the events meet that count at one of the moments and not at the other."""
    check_span("from", since.position, "to", until.position)
    check_span("from", since.timestamp, "to", until.timestamp)
    only_later = sa.and_(sa.not_(_counts(since)), _counts(until))
    # Of a position and a time neither comes first: the log need not be in the order of time.
    return only_later if _of_a_kind(since, until) else only_later | sa.and_(_counts(since), sa.not_(_counts(until)))


def _counts(at: Moment) -> sa.ColumnElement[bool]:
    return EVENTS.c.occurred_at <= at.timestamp if at.position is None else EVENTS.c.position <= at.position


def _of_a_kind(one: Moment, other: Moment) -> bool:
    return (one.position is None) == (other.position is None)


def _changed(row: asyncpg.Record) -> _Changed:
    return _Changed(row["id"], row["was"], row["is"])
