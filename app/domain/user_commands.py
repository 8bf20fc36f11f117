"""What a user may be asked: the commands of `app.domain.user`, but for the one that carries a state of the user."""

from datetime import datetime, timedelta
from uuid import UUID

from app.domain.aggregate import Command


class CreateUser(Command):
    """Create a user, with the roles given."""

    tenant_id: UUID
    username: str
    email: str
    created_by: str
    full_name: str | None = None
    phone: str | None = None
    role_ids: tuple[UUID, ...] = ()


class UpdateUserProfile(Command):
    """Change what the user is called."""

    full_name: str


class ChangeUserEmail(Command):
    """Give the user another e-mail address."""

    email: str


class ChangeUserPhone(Command):
    """Give the user another phone number, or none."""

    phone: str | None


class ChangeUserPassword(Command):
    """Note that the password changes. Its hash is kept beside the stream, so that each such command counts as a change."""

    changed_by: str


class AssignRoles(Command):
    """Replace the user's roles, which must be of the user's own tenant."""

    tenant_id: UUID
    role_ids: tuple[UUID, ...]
    assigned_by: str


class RecordLogin(Command):
    """Note an attempt to log in; `lock_after` failed ones in a row lock the account for `lock_for`."""

    password_matches: bool
    lock_after: int
    lock_for: timedelta
    ip_address: str | None = None
    user_agent: str | None = None


class LockUser(Command):
    """Lock the account, until the moment given or until it is unlocked by hand."""

    reason: str
    locked_until: datetime | None = None


class UnlockUser(Command):
    """End the lock."""

    unlocked_by: str


class DeleteUser(Command):
    """Delete the user; the history stays."""

    deleted_by: str
    reason: str | None = None


class RestoreUser(Command):
    """Undo the deletion."""

    restored_by: str


Change = (
    UpdateUserProfile
    | ChangeUserEmail
    | ChangeUserPhone
    | ChangeUserPassword
    | AssignRoles
    | RecordLogin
    | LockUser
    | UnlockUser
    | DeleteUser
)
"""The commands that only a user who is not deleted takes."""
