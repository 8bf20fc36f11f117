"""Appends, pages, poison, retries, crashes, rebuilds and rollbacks in any order: at rest a read table is the fold of the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.user import USER
from app.domain.user_events import EmailChanged, RolesAssigned, UserCreated, UserDeleted, UserEvent, UserRestored, UserUpdated
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.recorded import Excerpt, RecordedEvent
from app.eventstore.store import EventStore
from projections import users
from projections.engine import ProjectionEngine
from projections.rebuild import Pass, rebuild, roll_back
from projections.shares import build_share
from tests.projections.brittle import BrittleUsers, FussyUsers
from tests.projections.histories import NOON, History, folded

pytestmark = pytest.mark.anyio

PLENTY, NEXT_TO_NOTHING = 1 << 30, 1


class Append(NamedTuple):
    """An event is appended to one of three streams; it may be poison until everything is mended."""

    user: int
    event: UserEvent
    poison: bool


class Page(NamedTuple):
    """The engine takes a page."""


class Retry(NamedTuple):
    """All that is parked is tried again."""


class Rebuild(NamedTuple):
    """A rebuild, in the middle of which the process may die."""

    shares: int
    stretch: int
    memory: int
    reads: int | None
    """After so many pages it dies."""


class RollBack(NamedTuple):
    """Back to the generation before."""


Step = Append | Page | Retry | Rebuild | RollBack

EVENTS = st.sampled_from(
    [
        UserUpdated(full_name="Ada"),
        EmailChanged(email="ada@example.org"),
        RolesAssigned(role_ids=(uuid4(),), assigned_by="test"),
        UserDeleted(deleted_by="test"),
        UserRestored(restored_by="test"),
    ]
)
STEPS = st.lists(
    st.one_of(
        st.builds(Append, st.integers(0, 2), EVENTS, st.sampled_from([False, False, False, True])),
        st.builds(Append, st.integers(0, 2), EVENTS, st.just(False)),
        st.builds(Page),
        st.builds(Retry),
        st.builds(
            Rebuild,
            st.integers(1, 3),
            st.sampled_from([1, 3, 1000]),
            st.sampled_from([PLENTY, NEXT_TO_NOTHING]),
            st.one_of(st.none(), st.integers(0, 4)),
        ),
        st.builds(RollBack),
    ),
    max_size=14,
)


class Died(BaseException):
    """The process is gone: nobody clears up."""


class Mortal(EventStore):
    """Dies after so many pages."""

    reads: int | None

    async def read_share(self, *where: Any, **how: Any) -> list[RecordedEvent]:
        if self.reads == 0:
            raise Died
        self.reads = None if self.reads is None else self.reads - 1
        return await super().read_share(*where, **how)

    async def excerpts(self, *where: Any) -> AsyncGenerator[list[Excerpt]]:
        async with aclosing(super().excerpts(*where)) as pages:
            async for page in pages:
                for excerpt in page:
                    if self.reads == 0:
                        raise Died
                    self.reads = None if self.reads is None else self.reads - 1
                    yield [excerpt]


class World:
    """What the steps act upon."""

    def __init__(self, store: EventStore, batcher: Batcher, projection: BrittleUsers | FussyUsers) -> None:
        self.ids = [uuid4() for _ in range(3)]
        self.store = store
        self.projection = projection
        self.engine = ProjectionEngine(store, [projection], batch_size=2)
        self.history = History(batcher)
        self._tenant_id = uuid4()
        self._at: datetime = NOON

    async def do(self, step: Step) -> None:
        """Take the step."""
        match step:
            case Append():
                await self._append(step)
            case Page():
                await self.engine.advance("users")
            case Retry():
                await self.engine.retrying.retry("users")
            case Rebuild():
                await self._rebuild(step)
            case RollBack():
                with suppress(BadInput):  # there is none to go back to
                    await roll_back(self.store, self.projection)

    async def rest(self) -> None:
        """Mend what is poison, try it again, and come to the end of the log."""
        self.projection.poison = ()
        await self.engine.catch_up()
        await self.engine.retrying.retry("users")

    async def _append(self, step: Append) -> None:
        self._at += timedelta(hours=1)
        user_id = self.ids[step.user]
        event = step.event if self.history.begun(user_id) else UserCreated(username="ada", email="ada@example.org")
        await self.history.add(USER, user_id, event, tenant_id=self._tenant_id, at=self._at)
        if step.poison:
            match self.projection:
                case BrittleUsers():
                    self.projection.poison = {*self.projection.poison, self.history.position}
                case FussyUsers():
                    self.projection.poison = {*self.projection.poison, self._at}

    async def _rebuild(self, step: Rebuild) -> None:
        mortal = Mortal(self.store.database, self.store.codec)
        mortal.reads = step.reads

        async def build(passes: Sequence[Pass]) -> None:
            for each in passes:
                await build_share(mortal, each.builds, each.share, step.memory, stretch=step.stretch)

        try:
            await rebuild(self.store, [self.projection], build, shares=step.shares, allow_differences=True)
        except Died:
            assert step.reads is not None


@pytest.mark.parametrize("kind", [BrittleUsers, FussyUsers], ids=["event by event", "by excerpts"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_at_rest_every_row_is_the_plain_fold(
    store: EventStore, batcher: Batcher, kind: type[BrittleUsers | FussyUsers], steps: list[Step]
) -> None:
    before = await store.head()
    world = World(store, batcher, kind())
    await world.engine.prepare()
    for step in steps:
        await world.do(step)
    await world.rest()

    events = await store.read(before, 1000)
    for position in range(before, await store.head() + 1):
        wanted: dict[UUID, Any] = dict(folded(each for each in events if each.position <= position))
        assert await users.by_ids(store.database, world.ids, Moment(position=position)) == wanted
    assert await users.by_ids(store.database, world.ids) == folded(events)
    (status,) = [each for each in await world.engine.status() if each.live]
    assert (status.parked, status.lag) == (0, 0)
