"""How a user is put back to what they were, and what stands against it."""

from app.domain.role import RoleIsRetired
from app.domain.user import NameCannotBeTakenAway, RevertUser, User, UserCommand, UserStatus
from app.domain.user_events import (
    AccountLocked,
    AccountUnlocked,
    EmailChanged,
    PhoneChanged,
    RolesAssigned,
    UserDeleted,
    UserEvent,
    UserRestored,
    UserUpdated,
)
from tests.domain.given import ACME, ADMIN, NOON, RETIRED, Story, user
from tests.domain.test_user import HOUR, created, deleted, failed, given_admin, locked


def back_to(then: Story[User, UserCommand, UserEvent]) -> RevertUser:
    assert then.state
    return RevertUser(tenant_id=ACME.id, then=then.state, reverted_by="root", at=NOON)


def test_a_reverted_user_is_as_then_by_as_many_events_as_differ() -> None:
    then = user.given(created, UserUpdated(full_name="Ada"), PhoneChanged(phone="+4930123"), given_admin)
    moved = then.given(EmailChanged(email="al@example.org"), PhoneChanged(phone=None), UserUpdated(full_name="Al"), locked)
    after = moved.when(back_to(then)).then(
        UserUpdated(full_name="Ada"),
        EmailChanged(email="ada@example.org"),
        PhoneChanged(phone="+4930123"),
        AccountUnlocked(unlocked_by="root"),
    )
    after.shows(full_name="Ada", email="ada@example.org", phone="+4930123", role_ids=(ADMIN.id,), status=UserStatus.ACTIVE)
    then.given(failed).when(back_to(then)).nothing()


def test_reverting_restores_deletes_and_locks_again() -> None:
    there, gone = user.given(created, given_admin), user.given(created, given_admin, deleted)
    gone.when(back_to(there)).then(UserRestored(restored_by="root"))
    there.when(back_to(gone)).then(UserDeleted(deleted_by="root"))
    gone.given().when(back_to(gone)).nothing()
    there.when(back_to(there.given(locked))).then(
        AccountLocked(login_attempts=0, locked_until=locked.locked_until, reason=locked.reason)
    )
    over = AccountLocked(login_attempts=5, locked_until=NOON - HOUR, reason="five in a row")
    there.when(back_to(there.given(over))).nothing()
    there.given(locked).when(back_to(there.given(over))).then(AccountUnlocked(unlocked_by="root"))


def test_what_a_rule_forbids_by_now_is_not_reverted() -> None:
    with_old = user.given(created, RolesAssigned(role_ids=(RETIRED.id,), assigned_by="root"))
    user.given(created, deleted).when(back_to(with_old)).refused(RoleIsRetired)
    user.given(created, UserUpdated(full_name="Ada")).when(back_to(user.given(created))).refused(
        NameCannotBeTakenAway, "full name"
    )
