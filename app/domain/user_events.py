"""What is recorded of a user. These are kept for ever, so a change here is one of the log's format; the rules are in `user`."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from app.domain.aggregate import Event


class UserCreated(Event):
    """A user was created."""

    username: Annotated[str, Meta(description="The name to log in with; unique among the tenant's users that are not deleted.")]
    email: Annotated[str, Meta(description="The e-mail address; unique among the tenant's users that are not deleted.")]
    full_name: Annotated[str | None, Meta(description="What the user is called, if known.")] = None
    phone: Annotated[str | None, Meta(description="The phone number in E.164, if known.")] = None


class UserUpdated(Event):
    """The user's profile changed."""

    full_name: Annotated[str, Meta(description="What the user is called from now on.")]


class EmailChanged(Event):
    """The user got another e-mail address."""

    email: Annotated[str, Meta(description="The e-mail address from now on.")]


class PhoneChanged(Event):
    """The user got another phone number, or none."""

    phone: Annotated[str | None, Meta(description="The phone number from now on, in E.164; null when it was removed.")] = None


class PasswordChanged(Event):
    """The user's password was changed. The password itself is never in an event."""

    changed_by: Annotated[str, Meta(description="Who changed the password.")]


class RolesAssigned(Event):
    """The user's roles were set; the list replaces the former one."""

    role_ids: Annotated[tuple[UUID, ...], Meta(description="The ids of all roles that the user has from now on.")]
    assigned_by: Annotated[str, Meta(description="Who assigned the roles.")]


class LoginInfoUpdated(Event):
    """Somebody tried to log in as the user."""

    succeeded: Annotated[bool, Meta(description="Whether the login succeeded.")]
    ip_address: Annotated[str | None, Meta(description="The address that the attempt came from.")] = None
    user_agent: Annotated[str | None, Meta(description="The program that the attempt came from, as it named itself.")] = None


class AccountLocked(Event):
    """The account was locked, or its lock was changed; the user cannot log in."""

    login_attempts: Annotated[int, Meta(description="How many logins had failed in a row.")]
    reason: Annotated[str, Meta(description="Why the account was locked.")]
    locked_until: Annotated[datetime | None, Meta(description="When the lock ends; null when it ends by hand only.")] = None


class AccountUnlocked(Event):
    """The lock ended; the count of failed logins begins anew."""

    unlocked_by: Annotated[str, Meta(description="Who unlocked the account; `expiry` when the lock had run out.")]


class UserDeleted(Event):
    """The user was deleted: username and e-mail address are free again, the history stays."""

    deleted_by: Annotated[str, Meta(description="Who deleted the user.")]
    reason: Annotated[str | None, Meta(description="Why the user was deleted, if a reason was given.")] = None


class UserRestored(Event):
    """The deletion was undone: the user is as before it."""

    restored_by: Annotated[str, Meta(description="Who restored the user.")]


UserEvent = (
    UserCreated
    | UserUpdated
    | EmailChanged
    | PhoneChanged
    | PasswordChanged
    | RolesAssigned
    | LoginInfoUpdated
    | AccountLocked
    | AccountUnlocked
    | UserDeleted
    | UserRestored
)
