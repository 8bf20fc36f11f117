"""What users are and were called: by username, e-mail address and full name lists find them, now and as of any moment.

Few of a user's events change a name. What is looked for by text is therefore kept here, once for each time that names changed,
and not in each of the many versions of `users`; these say all else, such as whether the user was deleted meanwhile.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.domain.aggregate import begun
from app.domain.names import normalise
from app.domain.user_events import EmailChanged, UserCreated, UserUpdated
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from projections.asof import Span, spans_at
from projections.projection import BYTEWISE, READ, TIME, required
from projections.user_spans import UserSpans, ended

# Table

TABLE = sa.Table(
    "user_names",
    READ,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("from_position", sa.BigInteger, primary_key=True),
    sa.Column("to_position", sa.BigInteger),
    required("tenant_id", sa.Uuid()),
    required("since", TIME),
    sa.Column("until", TIME),
    required("username_key", BYTEWISE),
    required("email_key", BYTEWISE),
    required("search_text", sa.Text()),
    sa.Index(None, "tenant_id", "email_key", "user_id", "since"),
    sa.Index(None, "email_key", "user_id", "since"),
    sa.Index(None, "search_text", postgresql_using="gin", postgresql_ops={"search_text": "gin_trgm_ops"}),
    postgresql_with={"fillfactor": 80},  # room for the end of a span, which is in no index, on the page of its row
)

# Fold


class Names(msgspec.Struct, frozen=True):
    """What a user was called from one event to another; without an end they are called so now."""

    user_id: UUID
    from_position: int
    to_position: int | None
    tenant_id: UUID
    since: datetime
    until: datetime | None
    username_key: str
    email_key: str
    search_text: str
    """All by which a user is searched for: these two and the form in which spellings of the full name are equal, one a line."""

    @property
    def full_name_key(self) -> str:
        """The form in which two spellings of the full name are equal; empty when there is none."""
        return self.search_text.removeprefix(f"{self.username_key}\n{self.email_key}\n")


AllNames = tuple[Names, ...]
"""What one user is and ever was called, in the order of time."""


class UserNames(UserSpans[Names]):
    """One row for each time that a user came to be called so, however that is spelt."""

    name = "user_names"
    table = TABLE
    span = Names
    reads = frozenset(event.__name__ for event in (UserCreated, UserUpdated, EmailChanged))

    def evolve(self, row: AllNames | None, recorded: RecordedEvent) -> AllNames:
        """End the last names and begin those that are so from now on, unless they are the same."""
        now = _after(row[-1] if row else None, recorded)
        if not row:
            return (now,)
        *former, last = row
        if _told(now) == _told(last):
            return row
        return (*former, ended(last, recorded), now)


def _told(names: Names) -> tuple[str, str, str]:
    return names.username_key, names.email_key, names.search_text


def _after(before: Names | None, recorded: RecordedEvent) -> Names:
    """What the user is called after the event."""
    event = recorded.event
    if isinstance(event, UserCreated):
        username_key = normalise(event.username) if before is None else before.username_key
        return _names(recorded, username_key, normalise(event.email), normalise(event.full_name or ""))
    last = begun(before, event)
    match event:
        case UserUpdated():
            return _names(recorded, last.username_key, last.email_key, normalise(event.full_name))
        case EmailChanged():
            return _names(recorded, last.username_key, normalise(event.email), last.full_name_key)
        case _:
            raise TypeError(f"{recorded.type} does not change what a user is called")


def _names(recorded: RecordedEvent, username_key: str, email_key: str, full_name_key: str) -> Names:
    return Names(
        user_id=recorded.stream_id,
        from_position=recorded.position,
        to_position=None,
        tenant_id=recorded.tenant_id,
        since=recorded.occurred_at,
        until=None,
        username_key=username_key,
        email_key=email_key,
        search_text=f"{username_key}\n{email_key}\n{full_name_key}",
    )


USER_NAMES = UserNames()

# Queries


def span_of(names: sa.FromClause) -> Span:
    """When the names were so, of the table or an alias of it."""
    return Span(names.c.from_position, names.c.to_position, names.c.since, names.c.until)


def called(user_id: sa.ColumnElement[UUID], as_of: Moment | None, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """For another query: whether the user's names of now, or of the moment, meet the condition. Raises BadInput for a version."""
    then = (TABLE.c.until.is_(None),) if as_of is None else spans_at(span_of(TABLE), as_of)
    return sa.exists().where(TABLE.c.user_id == user_id, *then, condition)
