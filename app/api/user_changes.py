"""Mutations of one user."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import strawberry
from uuid_utils.compat import uuid7

from app.api.changes import ChangeInput, Given, Input, Intent, ThingPayload, change
from app.api.checks import NO_ID, Checks
from app.api.context import Context, Info
from app.api.fields import attribute, mutation
from app.api.moments import MomentInput, moment
from app.api.users import User
from app.domain.user import USER, RevertUser
from app.domain.user import (
    User as UserState,
)
from app.domain.user_commands import (
    AssignRoles,
    ChangeUserEmail,
    ChangeUserPassword,
    ChangeUserPhone,
    CreateUser,
    DeleteUser,
    LockUser,
    RestoreUser,
    UnlockUser,
    UpdateUserProfile,
)
from app.errors import BadInput
from app.security.permissions import ROLE_WRITE, USER_RESTORE, USER_WRITE, needs

LONG_AGO = datetime.min.replace(tzinfo=UTC)
NOBODY = UserState(username="", email="", created_at=LONG_AGO, updated_at=LONG_AGO)
"""In place of a state that a command cannot have; it is never decided."""

TO_GIVE_ROLES = needs(ROLE_WRITE)
"""Who gives roles gives permissions."""


@strawberry.type
class UserPayload(ThingPayload):
    user: User | None = attribute("", "The user as this left them; null when there is a problem.", name="thing")


@strawberry.input(description="A user to be.")
class NewUserInput:
    tenant_id: strawberry.ID = strawberry.field(description="The tenant that the user belongs to, for good.")
    username: str = strawberry.field(
        description="The name to log in with: 1 to 200 characters on one line, unique among the tenant's users that are not "
        "deleted, whatever the case."
    )
    email: str = strawberry.field(description="The e-mail address, unique among the tenant's users that are not deleted.")
    full_name: str | None = strawberry.field(
        default=None, description="What the user is called: 1 to 200 characters on one line."
    )
    phone: str | None = strawberry.field(
        default=None, description="A phone number with its country code, such as +49 30 12345678."
    )
    password: str | None = strawberry.field(
        default=None, description="8 to 1,024 characters. Kept as an Argon2id hash, beside the log, never in it."
    )
    role_ids: list[strawberry.ID] = strawberry.field(
        default_factory=list, description="The roles to begin with. They must be the tenant's and not be retired."
    )

    def creation(self, context: Context, checks: Checks) -> Intent:
        """The creation of this user, under a new id."""
        tenant_id = checks.id("tenantId", self.tenant_id)
        if self.role_ids and (lacking := context.caller.lacks(TO_GIVE_ROLES)):
            checks.refused("roleIds", lacking)
        return Intent(
            stream_id=uuid7(),
            tenant_id=tenant_id,
            password=None if self.password is None else checks.password(self.password),
            command=CreateUser(
                tenant_id=tenant_id,
                username=self.username,
                email=checks.email(self.email),
                full_name=self.full_name,
                phone=checks.phone(self.phone),
                role_ids=checks.ids("roleIds", self.role_ids),
                created_by=context.caller.name,
                at=context.at,
            ),
        )


@strawberry.input(description="What `createUser` needs.")
class CreateUserInput(NewUserInput, Input):
    async def intent(self, context: Context, checks: Checks) -> Intent:
        return self.creation(context, checks)


@strawberry.type(description="What `createUser` came to.")
class CreateUserPayload(UserPayload):
    pass


@strawberry.input(description="What `updateUserProfile` needs.")
class UpdateUserProfileInput(ChangeInput):
    full_name: str = strawberry.field(description="What the user is called from now on: 1 to 200 characters on one line.")

    async def command(self, context: Context, checks: Checks) -> UpdateUserProfile:
        return UpdateUserProfile(full_name=self.full_name, at=context.at)


@strawberry.type(description="What `updateUserProfile` came to.")
class UpdateUserProfilePayload(UserPayload):
    pass


@strawberry.input(description="What `changeUserEmail` needs.")
class ChangeUserEmailInput(ChangeInput):
    email: str = strawberry.field(description="The e-mail address from now on.")

    async def command(self, context: Context, checks: Checks) -> ChangeUserEmail:
        return ChangeUserEmail(email=checks.email(self.email), at=context.at)


@strawberry.type(description="What `changeUserEmail` came to.")
class ChangeUserEmailPayload(UserPayload):
    pass


@strawberry.input(description="What `changeUserPhone` needs.")
class ChangeUserPhoneInput(ChangeInput):
    phone: str | None = strawberry.field(
        default=None, description="The phone number from now on, with its country code; null or nothing removes it."
    )

    async def command(self, context: Context, checks: Checks) -> ChangeUserPhone:
        return ChangeUserPhone(phone=checks.phone(self.phone), at=context.at)


@strawberry.type(description="What `changeUserPhone` came to.")
class ChangeUserPhonePayload(UserPayload):
    pass


@strawberry.input(description="What `changeUserPassword` needs.")
class ChangeUserPasswordInput(ChangeInput):
    password: str = strawberry.field(description="The password from now on: 8 to 1,024 characters.")

    async def intent(self, context: Context, checks: Checks) -> Intent:
        intent = await super().intent(context, checks)
        return msgspec.structs.replace(intent, password=checks.password(self.password))

    async def command(self, context: Context, checks: Checks) -> ChangeUserPassword:
        return ChangeUserPassword(changed_by=context.caller.name, at=context.at)


@strawberry.type(description="What `changeUserPassword` came to.")
class ChangeUserPasswordPayload(UserPayload):
    pass


@strawberry.input(description="What `assignRoles` needs.")
class AssignRolesInput(ChangeInput):
    role_ids: list[strawberry.ID] = strawberry.field(
        description="All roles that the user has from now on: the user's tenant's, and none that is retired."
    )

    async def command(self, context: Context, checks: Checks) -> AssignRoles:
        return AssignRoles(
            tenant_id=await context.tenant_of(checks.id("id", self.id)) or NO_ID,
            role_ids=checks.ids("roleIds", self.role_ids),
            assigned_by=context.caller.name,
            at=context.at,
        )


@strawberry.type(description="What `assignRoles` came to.")
class AssignRolesPayload(UserPayload):
    pass


@strawberry.input(description="What `lockUser` needs.")
class LockUserInput(ChangeInput):
    reason: str = strawberry.field(description="Why, for those who wonder later: 1 to 1,000 characters on one line.")
    locked_until: datetime | None = strawberry.field(
        default=None, description="When the lock ends by itself; without it, it lasts until `unlockUser`."
    )

    async def command(self, context: Context, checks: Checks) -> LockUser:
        return LockUser(reason=self.reason, locked_until=self.locked_until, at=context.at)


@strawberry.type(description="What `lockUser` came to.")
class LockUserPayload(UserPayload):
    pass


@strawberry.input(description="What `unlockUser` needs.")
class UnlockUserInput(ChangeInput):
    async def command(self, context: Context, checks: Checks) -> UnlockUser:
        return UnlockUser(unlocked_by=context.caller.name, at=context.at)


@strawberry.type(description="What `unlockUser` came to.")
class UnlockUserPayload(UserPayload):
    pass


@strawberry.input(description="What `deleteUser` needs.")
class DeleteUserInput(ChangeInput):
    reason: str | None = strawberry.field(default=None, description="Why, for those who wonder later: up to 1,000 characters.")

    async def command(self, context: Context, checks: Checks) -> DeleteUser:
        return DeleteUser(deleted_by=context.caller.name, reason=self.reason, at=context.at)


@strawberry.type(description="What `deleteUser` came to.")
class DeleteUserPayload(UserPayload):
    pass


@strawberry.input(description="What `restoreUser` needs.")
class RestoreUserInput(ChangeInput):
    async def command(self, context: Context, checks: Checks) -> RestoreUser:
        return RestoreUser(restored_by=context.caller.name, at=context.at)


@strawberry.type(description="What `restoreUser` came to.")
class RestoreUserPayload(UserPayload):
    pass


@strawberry.input(description="What `revertUser` needs.")
class RevertUserInput(ChangeInput):
    at: MomentInput = strawberry.field(
        description="The moment, at which the user must have existed; they become what they were right after it."
    )

    async def command(self, context: Context, checks: Checks) -> RevertUser:
        id, then = checks.id("id", self.id), None
        type, _ = (await context.store.stream_types([id])).get(id, (None, None))
        if type != USER.stream_type:
            checks.not_found("user", id)
        else:
            try:
                at = moment("at", self.at, await context.backend.store.head())
                then = await context.store.state_at(id, at)
            except BadInput as error:
                checks.wrong("at", error.rule)
            else:
                if then is None:
                    checks.wrong("at", "the user did not exist at that moment")
        return RevertUser(
            tenant_id=then.tenant_id if then else NO_ID,
            then=then.state if then else NOBODY,
            reverted_by=context.caller.name,
            at=context.at,
        )


@strawberry.type(description="What `revertUser` came to.")
class RevertUserPayload(UserPayload):
    pass


@strawberry.type
class UserMutations:
    @mutation("Create a user in a tenant, with the roles given.", needs(USER_WRITE))
    async def create_user(self, info: Info, input: Given[CreateUserInput]) -> CreateUserPayload:
        return await change(info, USER, input, CreateUserPayload)

    @mutation("Change what a user is called.", needs(USER_WRITE))
    async def update_user_profile(self, info: Info, input: Given[UpdateUserProfileInput]) -> UpdateUserProfilePayload:
        return await change(info, USER, input, UpdateUserProfilePayload)

    @mutation("Give a user another e-mail address.", needs(USER_WRITE))
    async def change_user_email(self, info: Info, input: Given[ChangeUserEmailInput]) -> ChangeUserEmailPayload:
        return await change(info, USER, input, ChangeUserEmailPayload)

    @mutation("Give a user another phone number, or none.", needs(USER_WRITE))
    async def change_user_phone(self, info: Info, input: Given[ChangeUserPhoneInput]) -> ChangeUserPhonePayload:
        return await change(info, USER, input, ChangeUserPhonePayload)

    @mutation("Give a user another password. The log tells that it changed and who changed it, not to what.", needs(USER_WRITE))
    async def change_user_password(self, info: Info, input: Given[ChangeUserPasswordInput]) -> ChangeUserPasswordPayload:
        return await change(info, USER, input, ChangeUserPasswordPayload)

    @mutation("Set a user's roles. The list replaces the former one.", TO_GIVE_ROLES)
    async def assign_roles(self, info: Info, input: Given[AssignRolesInput]) -> AssignRolesPayload:
        return await change(info, USER, input, AssignRolesPayload)

    @mutation("Lock a user's account, until a moment or until it is unlocked.", needs(USER_WRITE))
    async def lock_user(self, info: Info, input: Given[LockUserInput]) -> LockUserPayload:
        return await change(info, USER, input, LockUserPayload)

    @mutation("End the lock of a user's account.", needs(USER_WRITE))
    async def unlock_user(self, info: Info, input: Given[UnlockUserInput]) -> UnlockUserPayload:
        return await change(info, USER, input, UnlockUserPayload)

    @mutation(
        "Delete a user. The username and e-mail address are free again, the history stays, and it can be undone.",
        needs(USER_WRITE),
    )
    async def delete_user(self, info: Info, input: Given[DeleteUserInput]) -> DeleteUserPayload:
        return await change(info, USER, input, DeleteUserPayload)

    @mutation("Undo a user's deletion: the user is as before it.", needs(USER_RESTORE))
    async def restore_user(self, info: Info, input: Given[RestoreUserInput]) -> RestoreUserPayload:
        return await change(info, USER, input, RestoreUserPayload)

    @mutation(
        "Make a user what they were at a moment: name, address, phone, roles, lock and deletion, by new events, of which there "
        "are as many as differ. The password and the logins stay as they are.",
        needs(USER_WRITE, ROLE_WRITE),
    )
    async def revert_user(self, info: Info, input: Given[RevertUserInput]) -> RevertUserPayload:
        return await change(info, USER, input, RevertUserPayload)
