"""The mutation that creates many users at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import strawberry

from app.api.changes import FORESEEN, Given, Input, Payload, request
from app.api.checks import Checks
from app.api.context import Info
from app.api.event_types import event
from app.api.fields import mutation
from app.api.problems import Foreseen, Problem, problem
from app.api.scalars import Position
from app.api.user_changes import NewUserInput
from app.api.users import User
from app.domain.user import USER
from app.errors import IdempotencyMismatch
from app.execute import Outcome
from app.security.permissions import USER_WRITE, needs

MOST_USERS = 1000


@strawberry.input(description="What `createUsers` needs.")
class CreateUsersInput(Input):
    users: list[NewUserInput] = strawberry.field(
        description="1 to 1,000 users. Hashing a password takes a while; a hundred of them fit into one request."
    )


@strawberry.type(description="What `createUsers` came to.")
class CreateUsersPayload(Payload):
    users: list[User] = strawberry.field(
        default_factory=list, description="The new users, in the order of the input; none when there is a problem."
    )


@strawberry.type
class UserCreation:
    @mutation(
        "Create up to 1,000 users, all of them or, when one cannot be created, none. Each problem's path says which: "
        '`["input", "users", "3", "email"]`.',
        needs(USER_WRITE),
    )
    async def create_users(self, info: Info, input: Given[CreateUsersInput]) -> CreateUsersPayload:
        outcomes: Sequence[Outcome] = ()
        problems = _number_is_wrong(input)
        if not problems:
            try:
                outcomes, problems = await _create(info, input)
            except FORESEEN as error:
                problems = [problem(error, _path(error))]
        return CreateUsersPayload(
            users=[user for outcome in outcomes if (user := User.seen(outcome.stream))],
            events=[event(recorded) for outcome in outcomes for recorded in outcome.events],
            position=Position(outcomes[-1].stream.position) if outcomes else None,
            problems=list(problems),
            client_mutation_id=input.client_mutation_id,
        )


def _path(error: Foreseen) -> Sequence[str]:
    """The part of the input that it is about: the whole, as the idempotency key is, or one user."""
    whole = error.index is None or isinstance(error, IdempotencyMismatch)
    return ("input",) if whole else ("input", "users", str(error.index))


def _number_is_wrong(input: CreateUsersInput) -> Sequence[Problem]:
    checks = Checks("input")
    if not 1 <= len(input.users) <= MOST_USERS:
        checks.wrong("users", f"takes 1 to {MOST_USERS} users, not {len(input.users)}")
    return checks.problems


async def _create(info: Info, input: CreateUsersInput) -> tuple[Sequence[Outcome], Sequence[Problem]]:
    context = info.context
    each_checks = [Checks("input", "users", str(place)) for place in range(len(input.users))]
    intents = [user.creation(context, checks) for user, checks in zip(input.users, each_checks, strict=True)]
    if problems := [problem for checks in each_checks for problem in checks.problems]:
        return (), problems
    requests = await asyncio.gather(
        *(request(context, info.field_name, USER, input, intent, place) for place, intent in enumerate(intents))
    )
    outcomes = await context.backend.executor.execute_all(requests)
    context.wrote(outcomes[-1].stream.position)
    return outcomes, ()
