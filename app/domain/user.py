"""A user: somebody whom a tenant knows, by whatever name, with whatever roles: refusals, state, decide, evolve."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import assert_never, get_args
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from app.domain import names
from app.domain.aggregate import Aggregate, Claim, Command, Others, begun, existing
from app.domain.role import check_assignable
from app.domain.tenant import TenantIsSuspended, tenant_among
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
from app.errors import Refusal

LONGEST_USERNAME = 200
LONGEST_EMAIL = 254  # what a mail server takes: RFC 5321, 4.5.3.1.3, less the angle brackets
LONGEST_FULL_NAME = 200
LONGEST_PHONE = 16  # a plus sign and the 15 digits of E.164
LONGEST_REASON = 1000

ENDS_SESSIONS = (PasswordChanged, AccountLocked, UserDeleted)
"""Events after which whoever logged in before has to do so again."""

EXPIRY = "expiry"
"""Who unlocks an account whose lock has run out."""
TOO_MANY_FAILED_LOGINS = "too many failed logins"


# Commands


class RevertUser(Command):
    """Make the user what they were, by as many events as differ: name, address, phone, roles, lock and deletion."""

    tenant_id: UUID
    then: "User"
    """What they were."""
    reverted_by: str


UserCommand = CreateUser | Change | RestoreUser | RevertUser


# Refusals


class UserExists(Refusal):
    """A user with this id exists already; change that user, or create one with another id."""


class UserIsDeleted(Refusal):
    """The user is deleted and takes no command but restore; restore the user first."""


class LockEndsInThePast(Refusal):
    """A lock must end in the future; give a later moment, or none for a lock without an end."""

    def __init__(self, locked_until: datetime, now: datetime) -> None:
        self.locked_until = locked_until
        self.now = now
        super().__init__(
            f"a lock until {locked_until.isoformat()} would have ended by now, {now.isoformat()}; "
            "give a later moment, or none for a lock without an end"
        )


class NameCannotBeTakenAway(Refusal):
    """The user had no full name at that moment, and no event takes one away; choose a later moment, or give another name."""


# State


class UserStatus(StrEnum):
    """What a user can do. A lock that has run out still counts as LOCKED until the next login finds it so."""

    ACTIVE = "ACTIVE"
    LOCKED = "LOCKED"
    DELETED = "DELETED"


class User(Struct, frozen=True, kw_only=True, gc=False):
    """A user as they are after their events so far. A deleted user keeps all fields, for the day they are restored."""

    username: str
    email: str
    full_name: str | None = None
    phone: str | None = None
    role_ids: tuple[UUID, ...] = ()
    locked: bool = False
    locked_until: datetime | None = None
    lock_reason: str | None = None
    login_attempts: int = 0
    """Failed logins since the last one that succeeded, or since the last unlocking."""
    last_login_at: datetime | None = None
    password_changed_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    """When the last event of any kind occurred."""
    deleted_at: datetime | None = None

    @property
    def status(self) -> UserStatus:
        """DELETED before LOCKED before ACTIVE."""
        if self.deleted_at is not None:
            return UserStatus.DELETED
        return UserStatus.LOCKED if self.locked else UserStatus.ACTIVE

    @property
    def username_key(self) -> str:
        """The form in which two spellings of the username are equal."""
        return names.normalise(self.username)

    @property
    def email_key(self) -> str:
        """The form in which two spellings of the e-mail address are equal."""
        return names.normalise(self.email)


# Decide


def decide(command: UserCommand, state: User | None, others: Others) -> Iterator[UserEvent]:
    """The events that the command means, none when nothing need change. Raises a Refusal when a rule forbids it."""
    match command:
        case CreateUser():
            if state is not None:
                raise UserExists
            yield from _create(command, others)
        case RestoreUser():
            if existing(state).deleted_at is not None:
                yield UserRestored(restored_by=command.restored_by)
        case RevertUser():
            yield from _revert(command, existing(state), others)
        case _:
            user = existing(state)
            if user.deleted_at is not None:
                raise UserIsDeleted
            yield from _change(command, user, others)


def _create(command: CreateUser, others: Others) -> Iterator[UserEvent]:
    tenant = tenant_among(others, command.tenant_id)
    if tenant.suspended_at is not None:
        raise TenantIsSuspended(command.tenant_id)
    created = UserCreated(
        username=names.checked("username", command.username, longest=LONGEST_USERNAME),
        email=names.checked("email", command.email, longest=LONGEST_EMAIL),
        full_name=names.checked_if_given("full_name", command.full_name, longest=LONGEST_FULL_NAME),
        phone=names.checked_if_given("phone", command.phone, longest=LONGEST_PHONE),
    )
    role_ids = _assignable(command.role_ids, command.tenant_id, others)
    yield created
    if role_ids:
        yield RolesAssigned(role_ids=role_ids, assigned_by=command.created_by)


def _change(command: Change, user: User, others: Others) -> Iterator[UserEvent]:
    match command:
        case UpdateUserProfile():
            full_name = names.checked("full_name", command.full_name, longest=LONGEST_FULL_NAME)
            if full_name != user.full_name:
                yield UserUpdated(full_name=full_name)
        case ChangeUserEmail():
            email = names.checked("email", command.email, longest=LONGEST_EMAIL)
            if email != user.email:
                yield EmailChanged(email=email)
        case ChangeUserPhone():
            phone = names.checked_if_given("phone", command.phone, longest=LONGEST_PHONE)
            if phone != user.phone:
                yield PhoneChanged(phone=phone)
        case ChangeUserPassword():
            yield PasswordChanged(changed_by=command.changed_by)
        case AssignRoles():
            # The same roles in another order, even if one is retired meanwhile, change nothing.
            if set(command.role_ids) != set(user.role_ids):
                role_ids = _assignable(command.role_ids, command.tenant_id, others)
                yield RolesAssigned(role_ids=role_ids, assigned_by=command.assigned_by)
        case RecordLogin():
            yield from _record_login(command, user)
        case LockUser():
            yield from _lock(command, user)
        case UnlockUser():
            if user.locked:
                yield AccountUnlocked(unlocked_by=command.unlocked_by)
        case DeleteUser():
            reason = names.checked_if_given("reason", command.reason, longest=LONGEST_REASON)
            yield UserDeleted(deleted_by=command.deleted_by, reason=reason)
        case _:
            assert_never(command)


def _assignable(role_ids: tuple[UUID, ...], tenant_id: UUID, others: Others) -> tuple[UUID, ...]:
    """The roles, each once. Raises NoSuchRole or RoleIsRetired for one that the tenant cannot assign."""
    for role_id in role_ids:
        check_assignable(others, tenant_id, role_id)
    return names.without_repeats(role_ids)


def _record_login(command: RecordLogin, user: User) -> Iterator[UserEvent]:
    if user.locked_until is not None and user.locked_until <= command.at:
        unlocked = AccountUnlocked(unlocked_by=EXPIRY)
        yield unlocked
        user = evolve(user, unlocked, command.at)
    succeeded = command.password_matches and not user.locked
    yield LoginInfoUpdated(succeeded=succeeded, ip_address=command.ip_address, user_agent=command.user_agent)
    failed = user.login_attempts + 1
    if not succeeded and not user.locked and failed >= command.lock_after:
        yield AccountLocked(login_attempts=failed, locked_until=command.at + command.lock_for, reason=TOO_MANY_FAILED_LOGINS)


def _lock(command: LockUser, user: User) -> Iterator[UserEvent]:
    reason = names.checked("reason", command.reason, longest=LONGEST_REASON)
    if command.locked_until is not None and command.locked_until <= command.at:
        raise LockEndsInThePast(command.locked_until, command.at)
    if (True, command.locked_until, reason) != (user.locked, user.locked_until, user.lock_reason):
        yield AccountLocked(login_attempts=user.login_attempts, locked_until=command.locked_until, reason=reason)


def _revert(command: RevertUser, user: User, others: Others) -> Iterator[UserEvent]:
    then, who = command.then, command.reverted_by
    if user.deleted_at is not None and then.deleted_at is not None:
        return
    if then.full_name is None and user.full_name is not None:
        raise NameCannotBeTakenAway
    has_other_roles = set(then.role_ids) != set(user.role_ids)
    role_ids = _assignable(then.role_ids, command.tenant_id, others) if has_other_roles else ()
    if user.deleted_at is not None:
        yield UserRestored(restored_by=who)
    if then.full_name is not None and then.full_name != user.full_name:
        yield UserUpdated(full_name=then.full_name)
    if then.email != user.email:
        yield EmailChanged(email=then.email)
    if then.phone != user.phone:
        yield PhoneChanged(phone=then.phone)
    if has_other_roles:
        yield RolesAssigned(role_ids=role_ids, assigned_by=who)
    yield from _revert_lock(command, user)
    if then.deleted_at is not None:
        yield UserDeleted(deleted_by=who)


def _revert_lock(command: RevertUser, user: User) -> Iterator[UserEvent]:
    then, reason = command.then, command.then.lock_reason or ""
    holds = then.locked and (then.locked_until is None or then.locked_until > command.at)
    if holds and (True, then.locked_until, reason) != (user.locked, user.locked_until, user.lock_reason):
        yield AccountLocked(login_attempts=user.login_attempts, locked_until=then.locked_until, reason=reason)
    elif user.locked and not holds:
        yield AccountUnlocked(unlocked_by=command.reverted_by)


# Evolve


def evolve(state: User | None, event: UserEvent, occurred_at: datetime) -> User:
    """The user after the event."""
    if isinstance(event, UserCreated):
        return User(
            username=state.username if state else event.username,
            email=event.email,
            full_name=event.full_name,
            phone=event.phone,
            created_at=state.created_at if state else occurred_at,
            updated_at=occurred_at,
        )
    user, at = begun(state, event), occurred_at
    match event:  # the most frequent first
        case LoginInfoUpdated():
            if event.succeeded:
                return replace(user, updated_at=at, login_attempts=0, last_login_at=at)
            return replace(user, updated_at=at, login_attempts=user.login_attempts + 1)
        case RolesAssigned():
            return replace(user, updated_at=at, role_ids=event.role_ids)
        case UserUpdated():
            return replace(user, updated_at=at, full_name=event.full_name)
        case EmailChanged():
            return replace(user, updated_at=at, email=event.email)
        case PhoneChanged():
            return replace(user, updated_at=at, phone=event.phone)
        case PasswordChanged():
            return replace(user, updated_at=at, password_changed_at=at)
        case AccountLocked():
            lock = {"locked_until": event.locked_until, "lock_reason": event.reason}
            return replace(user, updated_at=at, locked=True, login_attempts=event.login_attempts, **lock)
        case AccountUnlocked():
            return replace(user, updated_at=at, locked=False, locked_until=None, lock_reason=None, login_attempts=0)
        case UserDeleted():
            return replace(user, updated_at=at, deleted_at=at)
        case UserRestored():
            return replace(user, updated_at=at, deleted_at=None)
        case _:
            assert_never(event)


def claims(state: User | None) -> frozenset[Claim]:
    """The user's username and e-mail address, until the user is deleted."""
    if state is None or state.deleted_at is not None:
        return frozenset()
    return _names(state.username, state.email)


@lru_cache(maxsize=10_000)  # who folds a stream asks after each event, and few events change a name
def _names(username: str, email: str) -> frozenset[Claim]:
    return frozenset({Claim("username", names.normalise(username)), Claim("email", names.normalise(email))})


def relies_on(command: UserCommand) -> tuple[UUID, ...]:
    """The streams whose state decides about the command: the tenant of a new user, and roles to assign."""
    match command:
        case CreateUser():
            return (command.tenant_id, *command.role_ids)
        case AssignRoles():
            return command.role_ids
        case RevertUser():
            return command.then.role_ids
        case _:
            return ()


USER = Aggregate[User, UserCommand, UserEvent](
    stream_type="User",
    state=User,
    events=get_args(UserEvent),
    decide=decide,
    evolve=evolve,
    shown=(
        *("username", "email", "full_name", "phone", "status", "role_ids", "login_attempts", "locked_until", "lock_reason"),
        *("last_login_at", "password_changed_at", "created_at", "deleted_at"),
    ),
    claims=claims,
    relies_on=relies_on,
)
