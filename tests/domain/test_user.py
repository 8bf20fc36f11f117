"""What a user may be asked, and what comes of it."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.aggregate import Claim, existing
from app.domain.names import TextIsEmpty, TextIsNotOneLine, TextIsTooLong
from app.domain.role import NoSuchRole, RoleIsRetired
from app.domain.tenant import NoSuchTenant, TenantIsSuspended
from app.domain.user import (
    EXPIRY,
    TOO_MANY_FAILED_LOGINS,
    LockEndsInThePast,
    UserExists,
    UserIsDeleted,
    UserStatus,
    claims,
)
from app.domain.user_commands import (
    AssignRoles,
    Change,
    ChangeUserEmail,
    ChangeUserPassword,
    ChangeUserPhone,
    CreateUser,
    DeleteUser,
    LockUser,
    RecordLogin,
    RestoreUser,
    UnlockUser,
    UpdateUserProfile,
)
from app.domain.user_events import (
    AccountLocked,
    AccountUnlocked,
    EmailChanged,
    LoginInfoUpdated,
    PasswordChanged,
    PhoneChanged,
    RolesAssigned,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserRestored,
    UserUpdated,
)
from tests.domain.given import ACME, ADMIN, CLOSED, ELSEWHERE, MIDNIGHT, NOON, NOWHERE, READER, RETIRED, user

HOUR = timedelta(hours=1)

created = UserCreated(username="ada", email="ada@example.org")
given_admin = RolesAssigned(role_ids=(ADMIN.id,), assigned_by="root")
locked = AccountLocked(login_attempts=0, reason="audit")
deleted = UserDeleted(deleted_by="root", reason="left")
failed = LoginInfoUpdated(succeeded=False)
succeeded = LoginInfoUpdated(succeeded=True)


def create(
    username: str = "ada",
    email: str = "ada@example.org",
    full_name: str | None = None,
    phone: str | None = None,
    role_ids: tuple[UUID, ...] = (),
    tenant_id: UUID = ACME.id,
) -> CreateUser:
    return CreateUser(
        tenant_id=tenant_id,
        username=username,
        email=email,
        full_name=full_name,
        phone=phone,
        role_ids=role_ids,
        created_by="root",
        at=NOON,
    )


def assign(*role_ids: UUID) -> AssignRoles:
    return AssignRoles(tenant_id=ACME.id, role_ids=role_ids, assigned_by="root", at=NOON)


def login(success: bool) -> RecordLogin:
    return RecordLogin(password_matches=success, lock_after=3, lock_for=HOUR, at=NOON)


# Creation


def test_a_user_begins_with_a_username_and_an_email() -> None:
    story = user.when(create()).then(created)
    story.shows(username="ada", email="ada@example.org", full_name=None, phone=None, role_ids=())
    story.shows(status=UserStatus.ACTIVE, created_at=NOON, updated_at=NOON, deleted_at=None)


def test_a_user_may_begin_with_everything() -> None:
    story = user.when(create(full_name="Ada L.", phone="+4930123456", role_ids=(READER.id, ADMIN.id))).then(
        UserCreated(username="ada", email="ada@example.org", full_name="Ada L.", phone="+4930123456"),
        RolesAssigned(role_ids=(READER.id, ADMIN.id), assigned_by="root"),
    )
    story.shows(full_name="Ada L.", phone="+4930123456", role_ids=(READER.id, ADMIN.id))


def test_space_around_is_left_out() -> None:
    user.when(create(" ada\n", " ada@example.org ", full_name="\tAda ", phone=" +49301 ")).then(
        UserCreated(username="ada", email="ada@example.org", full_name="Ada", phone="+49301")
    )


def test_a_user_is_created_once() -> None:
    user.given(created).when(create()).refused(UserExists)
    user.given(created, deleted).when(create()).refused(UserExists)


@pytest.mark.parametrize("tenant_id", [NOWHERE, ADMIN.id])
def test_a_user_needs_a_tenant_and_a_role_is_none(tenant_id: UUID) -> None:
    user.when(create(tenant_id=tenant_id)).refused(NoSuchTenant, tenant_id)


def test_a_suspended_tenant_takes_no_new_users() -> None:
    user.when(create(tenant_id=CLOSED.id)).refused(TenantIsSuspended, CLOSED.id)


def test_usernames_keep_the_rules_of_names() -> None:
    user.when(create(username="x" * 200)).then(UserCreated(username="x" * 200, email="ada@example.org"))
    user.when(create(username="x" * 201)).refused(TextIsTooLong, "username", 201)
    user.when(create(username="\n")).refused(TextIsEmpty, "username")
    user.when(create(username="ada\nroot")).refused(TextIsNotOneLine, "username", 4)


def test_all_other_texts_do_too() -> None:
    user.when(create(email=" ")).refused(TextIsEmpty, "email")
    user.when(create(email="x" * 255)).refused(TextIsTooLong, "email", 254)
    user.when(create(full_name="")).refused(TextIsEmpty, "full name")
    user.when(create(full_name="x" * 201)).refused(TextIsTooLong, "full name")
    user.when(create(phone="+1234567890123456")).refused(TextIsTooLong, "phone", 16)


# Profile


def test_a_user_can_be_called_otherwise() -> None:
    story = user.given(created).when(UpdateUserProfile(full_name="Ada L. ", at=NOON)).then(UserUpdated(full_name="Ada L."))
    story.shows(full_name="Ada L.", created_at=MIDNIGHT, updated_at=NOON)


def test_the_email_can_change() -> None:
    command = ChangeUserEmail(email="al@example.org", at=NOON)
    user.given(created).when(command).then(EmailChanged(email="al@example.org")).shows(email="al@example.org")


def test_a_new_spelling_of_the_email_is_a_change_of_no_claim() -> None:
    command = ChangeUserEmail(email="Ada@example.org", at=NOON)
    story = user.given(created).when(command).then(EmailChanged(email="Ada@example.org"))
    assert claims(story.state) == claims(user.given(created).state)


def test_the_phone_number_can_change_and_go() -> None:
    story = user.given(created).when(ChangeUserPhone(phone="+49301", at=NOON)).then(PhoneChanged(phone="+49301"))
    story.shows(phone="+49301")
    story.when(ChangeUserPhone(phone=None, at=NOON)).then(PhoneChanged(phone=None)).shows(phone=None)


@pytest.mark.parametrize(
    "command",
    [
        UpdateUserProfile(full_name=" Ada", at=NOON),
        ChangeUserEmail(email="ada@example.org ", at=NOON),
        ChangeUserPhone(phone="+49301", at=NOON),
    ],
)
def test_what_is_so_already_changes_nothing(command: UpdateUserProfile | ChangeUserEmail | ChangeUserPhone) -> None:
    full = UserCreated(username="ada", email="ada@example.org", full_name="Ada", phone="+49301")
    user.given(full).when(command).nothing()


def test_changed_texts_keep_the_rules_of_names() -> None:
    known = user.given(created)
    known.when(UpdateUserProfile(full_name=" ", at=NOON)).refused(TextIsEmpty, "full name")
    known.when(ChangeUserEmail(email="", at=NOON)).refused(TextIsEmpty, "email")
    known.when(ChangeUserPhone(phone="", at=NOON)).refused(TextIsEmpty, "phone")


def test_each_password_change_counts() -> None:
    changed = PasswordChanged(changed_by="ada")
    story = user.given(created, changed).when(ChangeUserPassword(changed_by="ada", at=NOON)).then(changed)
    story.shows(password_changed_at=NOON)


# Roles


def test_assigned_roles_replace_the_former_ones() -> None:
    assigned = RolesAssigned(role_ids=(READER.id,), assigned_by="root")
    user.given(created, given_admin).when(assign(READER.id)).then(assigned).shows(role_ids=(READER.id,))


def test_no_roles_at_all_is_a_list_too() -> None:
    user.given(created, given_admin).when(assign()).then(RolesAssigned(role_ids=(), assigned_by="root")).shows(role_ids=())


def test_a_role_named_twice_is_assigned_once() -> None:
    both = RolesAssigned(role_ids=(READER.id, ADMIN.id), assigned_by="root")
    user.given(created).when(assign(READER.id, ADMIN.id, READER.id)).then(both)
    user.when(create(role_ids=(READER.id, ADMIN.id, READER.id))).then(created, both)


def test_the_same_roles_in_any_order_change_nothing() -> None:
    both = RolesAssigned(role_ids=(READER.id, ADMIN.id), assigned_by="root")
    user.given(created, both).when(assign(ADMIN.id, READER.id)).nothing()


def test_roles_that_were_retired_meanwhile_may_stay_as_they_are() -> None:
    had_it_before = RolesAssigned(role_ids=(RETIRED.id,), assigned_by="root")
    user.given(created, had_it_before).when(assign(RETIRED.id)).nothing()
    user.given(created, had_it_before).when(assign(RETIRED.id, ADMIN.id)).refused(RoleIsRetired, RETIRED.id)


def test_a_retired_role_cannot_be_assigned() -> None:
    user.given(created).when(assign(ADMIN.id, RETIRED.id)).refused(RoleIsRetired, RETIRED.id, "'old'")
    user.when(create(role_ids=(RETIRED.id,))).refused(RoleIsRetired, RETIRED.id)


@pytest.mark.parametrize("role_id", [NOWHERE, ELSEWHERE.id, ACME.id])
def test_a_role_of_another_tenant_is_as_unknown_as_one_that_does_not_exist(role_id: UUID) -> None:
    user.given(created).when(assign(ADMIN.id, role_id)).refused(NoSuchRole, f"the tenant has no role {role_id}")
    user.when(create(role_ids=(role_id,))).refused(NoSuchRole, role_id)


# Logins


def test_a_login_is_noted_with_where_it_came_from() -> None:
    command = RecordLogin(password_matches=True, ip_address="::1", user_agent="curl", lock_after=3, lock_for=HOUR, at=NOON)
    noted = LoginInfoUpdated(succeeded=True, ip_address="::1", user_agent="curl")
    user.given(created, failed, failed).when(command).then(noted).shows(login_attempts=0, last_login_at=NOON)


def test_a_failed_login_is_counted() -> None:
    story = user.given(created, failed).when(login(success=False)).then(failed)
    story.shows(login_attempts=2, last_login_at=None, status=UserStatus.ACTIVE)


def test_one_failure_too_many_locks_the_account_for_a_while() -> None:
    lock = AccountLocked(login_attempts=3, locked_until=NOON + HOUR, reason=TOO_MANY_FAILED_LOGINS)
    story = user.given(created, failed, failed).when(login(success=False)).then(failed, lock)
    story.shows(status=UserStatus.LOCKED, login_attempts=3, locked_until=NOON + HOUR, lock_reason=TOO_MANY_FAILED_LOGINS)


def test_a_success_between_failures_begins_the_count_anew() -> None:
    user.given(created, failed, failed, succeeded).when(login(success=False)).then(failed).shows(login_attempts=1)


@pytest.mark.parametrize("until", [None, NOON + HOUR])
def test_the_right_password_does_not_open_a_locked_account_and_counts_as_a_failure(until: datetime | None) -> None:
    closed = AccountLocked(login_attempts=3, locked_until=until, reason="audit")
    user.given(created, closed).when(login(success=True)).then(failed).shows(login_attempts=4, locked_until=until)


def test_failures_on_a_locked_account_are_counted_and_leave_the_lock_alone() -> None:
    user.given(created, locked, failed, failed).when(login(success=False)).then(failed).shows(login_attempts=3, locked_until=None)


@pytest.mark.parametrize("success", [True, False])
def test_the_first_login_after_the_lock_has_run_out_ends_it(success: bool) -> None:
    over = AccountLocked(login_attempts=3, locked_until=NOON, reason=TOO_MANY_FAILED_LOGINS)
    noted = LoginInfoUpdated(succeeded=success)
    story = user.given(created, over).when(login(success)).then(AccountUnlocked(unlocked_by=EXPIRY), noted)
    story.shows(status=UserStatus.ACTIVE, locked_until=None, login_attempts=0 if success else 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(min_value=0, max_value=90)), max_size=30))
def test_however_attempts_come_no_more_than_the_limit_are_judged_in_a_row_and_none_behind_a_lock(
    attempts: list[tuple[bool, int]],
) -> None:
    story, at, judged = user.given(created), NOON, 0
    for matches, minutes in attempts:
        at += timedelta(minutes=minutes)
        command = RecordLogin(password_matches=matches, lock_after=3, lock_for=HOUR, at=at)
        before, decided = existing(story.state), list[UserEvent]()
        story.when(command).decide(decided)
        story = story.given(*decided, at=at)
        unlocked = AccountUnlocked(unlocked_by=EXPIRY) in decided
        behind_a_lock = before.locked and not unlocked
        assert (succeeded in decided) == (matches and not behind_a_lock)
        assert (failed in decided) == (succeeded not in decided)
        if unlocked or succeeded in decided:
            judged = 0
        judged += failed in decided and not behind_a_lock
        assert judged <= 3
        assert existing(story.state).locked == (behind_a_lock or judged == 3)


# Locks


def test_an_account_can_be_locked_until_it_is_unlocked() -> None:
    story = (
        user.given(created, failed).when(LockUser(reason=" audit", at=NOON)).then(AccountLocked(login_attempts=1, reason="audit"))
    )
    story.shows(status=UserStatus.LOCKED, locked_until=None, lock_reason="audit", login_attempts=1)


def test_an_account_can_be_locked_for_a_while() -> None:
    command = LockUser(reason="audit", locked_until=NOON + HOUR, at=NOON)
    lock = AccountLocked(login_attempts=0, locked_until=NOON + HOUR, reason="audit")
    user.given(created).when(command).then(lock).shows(status=UserStatus.LOCKED, locked_until=NOON + HOUR)


@pytest.mark.parametrize("until", [NOON, NOON - HOUR])
def test_a_lock_must_end_in_the_future(until: datetime) -> None:
    user.given(created).when(LockUser(reason="audit", locked_until=until, at=NOON)).refused(LockEndsInThePast, until.isoformat())


def test_a_lock_needs_a_reason() -> None:
    user.given(created).when(LockUser(reason=" ", at=NOON)).refused(TextIsEmpty, "reason")


def test_locking_again_in_the_same_way_changes_nothing() -> None:
    user.given(created, locked).when(LockUser(reason="audit", at=NOON)).nothing()


@pytest.mark.parametrize(
    ("command", "lock"),
    [
        (LockUser(reason="fraud", at=NOON), AccountLocked(login_attempts=0, reason="fraud")),
        (
            LockUser(reason="audit", locked_until=NOON + HOUR, at=NOON),
            AccountLocked(login_attempts=0, locked_until=NOON + HOUR, reason="audit"),
        ),
    ],
)
def test_another_reason_or_end_replaces_the_lock(command: LockUser, lock: AccountLocked) -> None:
    user.given(created, locked).when(command).then(lock).shows(lock_reason=lock.reason, locked_until=lock.locked_until)


def test_unlocking_ends_the_lock_and_begins_the_count_anew() -> None:
    story = user.given(created, failed, locked).when(UnlockUser(unlocked_by="root", at=NOON))
    story.then(AccountUnlocked(unlocked_by="root")).shows(status=UserStatus.ACTIVE, lock_reason=None, login_attempts=0)


def test_unlocking_an_account_that_is_not_locked_changes_nothing() -> None:
    user.given(created, failed).when(UnlockUser(unlocked_by="root", at=NOON)).nothing()


# Deletion


def test_a_user_can_be_deleted_with_a_reason_or_without() -> None:
    story = user.given(created).when(DeleteUser(deleted_by="root", reason="left ", at=NOON)).then(deleted)
    story.shows(status=UserStatus.DELETED, deleted_at=NOON)
    user.given(created).when(DeleteUser(deleted_by="root", at=NOON)).then(UserDeleted(deleted_by="root"))


def test_deleted_comes_before_locked() -> None:
    user.given(created, locked, deleted).shows(status=UserStatus.DELETED, locked=True)


DELETED_TAKES_NONE_OF: list[Change] = [
    UpdateUserProfile(full_name="Ada", at=NOON),
    ChangeUserEmail(email="al@example.org", at=NOON),
    ChangeUserPhone(phone=None, at=NOON),
    ChangeUserPassword(changed_by="ada", at=NOON),
    assign(ADMIN.id),
    login(success=True),
    LockUser(reason="audit", at=NOON),
    UnlockUser(unlocked_by="root", at=NOON),
    DeleteUser(deleted_by="root", at=NOON),
]


@pytest.mark.parametrize("command", DELETED_TAKES_NONE_OF, ids=lambda command: type(command).__name__)
def test_a_deleted_user_takes_no_command_but_restore(command: Change) -> None:
    user.given(created, deleted).when(command).refused(UserIsDeleted, "restore")


def test_a_restored_user_is_as_before_the_deletion() -> None:
    before = user.given(created, given_admin, failed, locked)
    after = before.given(deleted).when(RestoreUser(restored_by="root", at=NOON)).then(UserRestored(restored_by="root"))
    after.shows(status=UserStatus.LOCKED, role_ids=(ADMIN.id,), deleted_at=None, updated_at=NOON)
    assert claims(after.state) == claims(before.state)


def test_restoring_a_user_who_is_not_deleted_changes_nothing() -> None:
    user.given(created).when(RestoreUser(restored_by="root", at=NOON)).nothing()


def test_a_user_holds_username_and_email_until_deleted() -> None:
    spelt = UserCreated(username="\uff21DA", email="Ada@Example.org")
    assert claims(None) == frozenset()
    assert claims(user.given(spelt).state) == {Claim("username", "ada"), Claim("email", "ada@example.org")}
    assert claims(user.given(spelt, deleted).state) == frozenset()
