"""Projections that cannot fold some events, until they are mended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from msgspec import structs

from app.domain.aggregate import Stream
from app.domain.user import USER, User
from app.domain.user_events import UserEvent
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import users
from projections.projection import AggregateProjection, Key
from tests.projections.counting import Count, Counting


class BrittleUsers(AggregateProjection[User]):
    """The users of the service; their fold raises for events at the positions in `poison`."""

    poison: Collection[int] = ()

    def __init__(self) -> None:
        super().__init__("users", USER, User, users.TABLE, users.HISTORY, users.DERIVED)

    def evolve(self, row: Stream[User] | None, recorded: RecordedEvent) -> Stream[User]:
        if recorded.position in self.poison:
            raise ValueError(f"{recorded.position} is poison")
        return super().evolve(row, recorded)


class FussyUsers(AggregateProjection[User]):
    """The users of the service; the fold of their aggregate raises for what happened at the moments in `poison`."""

    poison: Collection[datetime] = ()

    def __init__(self) -> None:
        fussy = structs.replace(USER, evolve=self._evolve_user)
        super().__init__("users", fussy, User, users.TABLE, users.HISTORY, users.DERIVED)

    def _evolve_user(self, state: User | None, event: UserEvent, occurred_at: datetime) -> User:
        if occurred_at in self.poison:
            raise ValueError(f"what happened at {occurred_at} is poison")
        return USER.evolve(state, event, occurred_at)


class Brittle(Counting):
    """Counts the events of each stream, if nothing is wrong."""

    poison: Collection[int] = ()
    """Where the fold raises."""
    unplaced: Collection[int] = ()
    """Where the rows that an event touches cannot be told."""
    unwritable: Collection[int] = ()
    """After which the row has no columns."""
    too_large: Collection[int] = ()
    """After which the row has a number that its column does not hold."""

    def __init__(self) -> None:
        super().__init__("brittle")

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        if recorded.position in self.unplaced:
            raise ValueError(f"{recorded.position} is nowhere")
        return super().key(recorded)

    def evolve(self, row: Count | None, recorded: RecordedEvent) -> Count | None:
        if recorded.position in self.poison:
            raise ValueError(f"{recorded.position} is poison")
        if recorded.position in self.too_large:
            return Count(recorded.stream_id, 2**31)
        return Count(recorded.stream_id, -1) if recorded.position in self.unwritable else super().evolve(row, recorded)

    def values(self, row: Count) -> tuple[Any, ...]:
        if row.events < 0:
            raise ValueError("a count is never negative")
        return super().values(row)


class WithTenants(Brittle):
    """Counts the events of each stream, and for a tenant those of its users too; only the latter can fail."""

    def key(self, recorded: RecordedEvent) -> Iterable[Key]:
        return {(recorded.stream_id,), (recorded.tenant_id,)}

    def evolve(self, row: Count | None, recorded: RecordedEvent) -> Count | None:
        if row is None or row.id == recorded.stream_id:
            return Count(recorded.stream_id, row.events + 1 if row else 1)
        if recorded.position in self.poison:
            raise ValueError(f"{recorded.position} is poison")
        return Count(row.id, row.events + 1)


async def damage(store: EventStore, position: int, data: str = "{}") -> None:
    """Change what the log holds, as no part of the service could."""
    async with store.database.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")  # the log's own triggers would refuse
        await connection.execute("UPDATE es.events SET data = $2 WHERE position = $1", position, data)
