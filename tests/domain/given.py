"""Tells a rule as a sentence: given these events, when this command comes, then those events follow, or a refusal.

`user.given(created).when(LockUser(reason="audit", at=NOON)).then(AccountLocked(…)).shows(locked=True)`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest

from app.domain.aggregate import Aggregate, Command, Event, Stream
from app.domain.role import ROLE, RoleDefined, RoleRetired
from app.domain.tenant import TENANT, TenantCreated, TenantSuspended
from app.domain.user import USER
from app.errors import Refusal

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
"""When the given events occurred."""
NOON = MIDNIGHT + timedelta(hours=12)
"""When the command is asked."""

S = TypeVar("S")
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Story(Generic[S, C, E]):
    """A stream and its surroundings so far."""

    aggregate: Aggregate[S, C, E]
    state: S | None = None
    others: Mapping[UUID, Stream[Any]] = field(default_factory=dict)

    def among(self, *others: Stream[Any]) -> Story[S, C, E]:
        """These streams exist too."""
        return replace(self, others={**self.others, **{stream.id: stream for stream in others}})

    def given(self, *events: E, at: datetime = MIDNIGHT) -> Story[S, C, E]:
        """These events occurred, with no rule asked."""
        state = self.state
        for event in events:
            state = self.aggregate.evolve(state, event, at)
        return replace(self, state=state)

    def when(self, command: C) -> Asked[S, C, E]:
        """This command comes."""
        return Asked(self, command)

    def shows(self, **facts: object) -> None:
        """The state has these facts."""
        assert {name: getattr(self.state, name) for name in facts} == facts


@dataclass(frozen=True)
class Asked(Generic[S, C, E]):
    """A story in which a command waits for its answer."""

    story: Story[S, C, E]
    command: C

    def then(self, *events: E) -> Story[S, C, E]:
        """Exactly these events follow."""
        decided: list[E] = []
        self.decide(decided)
        assert decided == list(events)
        return self.story.given(*decided, at=self.command.at)

    def nothing(self) -> None:
        """The command succeeds and changes nothing."""
        self.then()

    def refused(self, refusal: type[Refusal], *facts: object) -> None:
        """A rule says no before any event, and its message holds the facts."""
        decided: list[E] = []
        with pytest.raises(refusal) as refused:
            self.decide(decided)
        assert refused.type is refusal
        assert [fact for fact in facts if str(fact) not in refused.value.message] == []
        assert decided == []

    def decide(self, decided: list[E]) -> None:
        """Collects the events that `decide` yields, which sees no other streams than those that the command relies on."""
        aggregate, story = self.story.aggregate, self.story
        relied_on = {id: story.others[id] for id in aggregate.relies_on(self.command) if id in story.others}
        decided.extend(aggregate.decide(self.command, story.state, relied_on))


def stream(aggregate: Aggregate[Any, Any, E], id: UUID, tenant_id: UUID, *events: E) -> Stream[Any]:
    """Another aggregate's stream with these events."""
    state = Story(aggregate).given(*events).state
    return Stream(
        id=id,
        type=aggregate.stream_type,
        tenant_id=tenant_id,
        version=len(events),
        position=len(events),
        state=state,
    )


ACME = stream(TENANT, UUID(int=1), UUID(int=1), TenantCreated(name="Acme"))
CLOSED = stream(TENANT, UUID(int=2), UUID(int=2), TenantCreated(name="Closed"), TenantSuspended(reason="unpaid"))

ADMIN = stream(ROLE, UUID(int=11), ACME.id, RoleDefined(name="admin", permissions=("*",)))
READER = stream(ROLE, UUID(int=12), ACME.id, RoleDefined(name="reader", permissions=("read",)))
RETIRED = stream(ROLE, UUID(int=13), ACME.id, RoleDefined(name="old", permissions=()), RoleRetired(name="old"))
ELSEWHERE = stream(ROLE, UUID(int=14), CLOSED.id, RoleDefined(name="admin", permissions=("*",)))
NOWHERE = UUID(int=99)
"""The id of no stream at all."""

user = Story(USER).among(ACME, CLOSED, ADMIN, READER, RETIRED, ELSEWHERE)
role = Story(ROLE).among(ACME, CLOSED)
tenant = Story(TENANT)
