"""What holds for every aggregate, whatever its history and whatever it is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeAlias, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.aggregate import Command, Event, existing
from app.domain.role import RoleCommand
from app.domain.tenant import TenantCommand
from app.domain.user import UserCommand, UserStatus, claims
from app.domain.user_commands import ChangeUserPassword, RecordLogin
from app.domain.user_events import UserCreated, UserDeleted, UserEvent, UserRestored
from app.errors import Refusal, UnreadableEvent
from tests.domain.given import MIDNIGHT, NOON, Story, role, tenant, user
from tests.domain.strategies import anything, several

AnyStory: TypeAlias = Story[Any, Any, Any]

EVERY_AGGREGATE = pytest.mark.parametrize(
    ("story", "commands"),
    [(user, get_args(UserCommand)), (role, get_args(RoleCommand)), (tenant, get_args(TenantCommand))],
    ids=["User", "Role", "Tenant"],
)
COUNTS_EACH_TIME = (ChangeUserPassword, RecordLogin)
"""Commands that note that something happened, so that a second one is a second event."""


def any_history(story: AnyStory) -> st.SearchStrategy[list[Event]]:
    """The event that creates the stream, and any others after it."""
    events = story.aggregate.events
    return st.builds(lambda first, more: [first, *more], anything(events[:1]), several(events))


def decided(story: AnyStory, command: Command) -> list[Event]:
    """The events that follow, none when the command is refused."""
    events: list[Event] = []
    with suppress(Refusal):
        story.when(command).decide(events)
        return events
    assert events == [], "a refusal came after an event"
    return []


@EVERY_AGGREGATE
@given(data=st.data())
def test_events_fold_in_any_order_and_always_to_the_same(
    story: AnyStory, commands: tuple[type[Command], ...], data: st.DataObject
) -> None:
    before, events = story.given(*data.draw(any_history(story))), data.draw(several(story.aggregate.events))
    after = before.given(*events, at=NOON)
    after.shows(updated_at=NOON if events else MIDNIGHT)
    assert after == before.given(*events, at=NOON)


@EVERY_AGGREGATE
@given(data=st.data())
def test_no_stream_begins_with_another_event_than_the_creating_one(
    story: AnyStory, commands: tuple[type[Command], ...], data: st.DataObject
) -> None:
    event = data.draw(anything(story.aggregate.events[1:]))
    with pytest.raises(UnreadableEvent, match=f"a stream cannot begin with {type(event).__name__}"):
        story.given(event)


@EVERY_AGGREGATE
@given(data=st.data())
def test_asked_twice_is_decided_once(story: AnyStory, commands: tuple[type[Command], ...], data: st.DataObject) -> None:
    story = story.given(*data.draw(st.just([]) | any_history(story)))
    for command in data.draw(several(commands if story.state else commands[:1])):
        story = story.given(*decided(story, command), at=command.at)
        assert isinstance(command, COUNTS_EACH_TIME) or decided(story, command) == []


@given(st.data())
def test_whatever_is_asked_the_facts_of_a_user_fit_together(data: st.DataObject) -> None:
    story: AnyStory = user.given(data.draw(anything((UserCreated,))))
    for command in data.draw(several(get_args(UserCommand))):
        story = story.given(*decided(story, command), at=command.at)
        state = existing(story.state)
        assert state.locked == (state.lock_reason is not None)
        assert state.locked or state.locked_until is None
        assert len(set(state.role_ids)) == len(state.role_ids)


@given(any_history(user))
def test_a_deleted_user_holds_no_claim_and_a_restored_one_is_as_before(history: list[UserEvent]) -> None:
    live = user.given(*history).given(UserRestored(restored_by="root"), at=NOON)
    gone = live.given(UserDeleted(deleted_by="root"), at=NOON)
    gone.shows(status=UserStatus.DELETED)
    assert claims(gone.state) == frozenset()
    assert {claim.kind for claim in claims(live.state)} == {"username", "email"}
    assert gone.given(UserRestored(restored_by="root"), at=NOON) == live
