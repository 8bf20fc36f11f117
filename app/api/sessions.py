"""Mutations by which users get in and out."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import TypeVar

import strawberry

from app.api.changes import FORESEEN, Given
from app.api.checks import Checks
from app.api.context import Context, Info
from app.api.event_types import event
from app.api.fields import mutation
from app.api.problems import Problem, not_allowed, problem
from app.api.scalars import Position
from app.api.user_changes import UserPayload
from app.api.users import User
from app.security.caller import Caller
from app.security.login import Admitted, Visit
from app.security.permissions import OPEN, TOKEN


@strawberry.input
class SessionInput:
    """The input of a mutation that is carried out anew however often it is sent, so that it has no idempotency key."""

    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.input(description="What `login` needs.")
class LoginInput(SessionInput):
    username: str = strawberry.field(description="The username, in whatever case.")
    password: str = strawberry.field(description="The password.")
    tenant_id: strawberry.ID | None = strawberry.field(
        default=None, description="The user's tenant. It may be left out while only one tenant has a user of that name."
    )


@strawberry.input(description="What `refresh` needs.")
class RefreshInput(SessionInput):
    refresh_token: str = strawberry.field(description="The refresh token of the answer before; each is good for once.")


@strawberry.input(description="What `logout` needs.")
class LogoutInput(SessionInput):
    refresh_token: str = strawberry.field(description="The session's refresh token.")


@strawberry.input(description="What `changeOwnPassword` needs.")
class ChangeOwnPasswordInput(SessionInput):
    current_password: str = strawberry.field(description="The password until now. A wrong one counts as a failed login.")
    new_password: str = strawberry.field(description="The password from now on: 8 to 1,024 characters.")


@strawberry.type
class AdmittedPayload(UserPayload):
    access_token: str | None = strawberry.field(
        default=None, description="What says who you are, in the header `Authorization: Bearer …`; null when there is a problem."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When the access token ends; `refresh` has another one."
    )
    refresh_token: str | None = strawberry.field(
        default=None, description="What `refresh` takes for the next access token, once. Keep it as you would keep the password."
    )


@strawberry.type(description="What `login` came to.")
class LoginPayload(AdmittedPayload):
    pass


@strawberry.type(description="What `refresh` came to.")
class RefreshPayload(AdmittedPayload):
    pass


@strawberry.type(description="What `changeOwnPassword` came to.")
class ChangeOwnPasswordPayload(AdmittedPayload):
    pass


@strawberry.type(description="What `logout` came to.")
class LogoutPayload:
    problems: list[Problem] = strawberry.field(description="Why it was not done; there is no reason yet.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


P = TypeVar("P", bound=AdmittedPayload)


async def admitted(context: Context, input: SessionInput, admission: Awaitable[Admitted], payload: type[P]) -> P:
    """The payload of that type for who gets in, who is the caller for the rest of the operation; or the reason why not."""
    try:
        who = await admission
    except FORESEEN as error:
        return refused(input, [problem(error)], payload)
    context.wrote(who.stream.position)
    context.act_for(Caller(name=str(who.stream.id), user_id=who.stream.id, tenant_id=who.stream.tenant_id))
    return payload(
        thing=User.seen(who.stream),
        events=[event(recorded) for recorded in who.events],
        version=who.stream.version,
        position=Position(who.stream.position),
        problems=[],
        access_token=who.access_token,
        expires_at=who.expires_at,
        refresh_token=who.refresh_token,
        client_mutation_id=input.client_mutation_id,
    )


def refused(input: SessionInput, problems: list[Problem], payload: type[P]) -> P:
    """The payload of that type for who does not get in: the same in all but the problems."""
    return payload(problems=problems, client_mutation_id=input.client_mutation_id)


@strawberry.type
class SessionMutations:
    @mutation(
        "Log in. Every attempt is an event, and some failures in a row lock the account for a while. A failure looks the same "
        "and takes the same time, whether the name is unknown, the password wrong or the account locked.",
        OPEN,
    )
    async def login(self, info: Info, input: Given[LoginInput]) -> LoginPayload:
        context, checks = info.context, Checks("input")
        tenant_id = None if input.tenant_id is None else checks.id("tenantId", input.tenant_id)
        if checks.problems:
            return refused(input, [*checks.problems], LoginPayload)
        admission = context.backend.login.log_in(input.username, input.password, tenant_id, _visit(context))
        return await admitted(context, input, admission, LoginPayload)

    @mutation(
        "Get another access token for a refresh token, and another refresh token, for each is good for once. One that comes "
        "again was stolen and ends the session. So does another password, a lock of the account and the user's deletion.",
        OPEN,
    )
    async def refresh(self, info: Info, input: Given[RefreshInput]) -> RefreshPayload:
        context = info.context
        admission = context.backend.login.refresh(input.refresh_token, context.at)
        return await admitted(context, input, admission, RefreshPayload)

    @mutation(
        "Log out: end the session that a refresh token belongs to. The access token is good until it ends by itself, some "
        "minutes later; forget it.",
        OPEN,
    )
    async def logout(self, info: Info, input: Given[LogoutInput]) -> LogoutPayload:
        await info.context.backend.login.log_out(input.refresh_token)
        return LogoutPayload(problems=[], client_mutation_id=input.client_mutation_id)

    @mutation("Give yourself another password, and end all your sessions but a new one, whose tokens are in the answer.", TOKEN)
    async def change_own_password(self, info: Info, input: Given[ChangeOwnPasswordInput]) -> ChangeOwnPasswordPayload:
        context, checks = info.context, Checks("input")
        user_id, new = context.caller.user_id, checks.password(input.new_password, "newPassword")
        if user_id is None:
            message = f"{context.caller.name} is no user and has no password; use changeUserPassword for somebody else's"
            return refused(input, [not_allowed(["input"], message)], ChangeOwnPasswordPayload)
        if checks.problems:
            return refused(input, [*checks.problems], ChangeOwnPasswordPayload)
        admission = context.backend.login.change_password(user_id, input.current_password, new, _visit(context))
        return await admitted(context, input, admission, ChangeOwnPasswordPayload)


def _visit(context: Context) -> Visit:
    return Visit(at=context.at, metadata=context.metadata)
