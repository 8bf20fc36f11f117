"""What all mutations share: the fields of their inputs and payloads, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Annotated, Any, TypeVar, get_args
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
import orjson
import strawberry
from strawberry import UNSET

from app.api.checks import Checks
from app.api.context import Context, Info
from app.api.event_types import Event, event
from app.api.node import Thing
from app.api.problems import Foreseen, Problem, problem
from app.api.scalars import Position
from app.domain.aggregate import Aggregate, Command
from app.execute import Outcome, Request

FORESEEN = get_args(Foreseen)

# Of an input, what does not belong to its meaning. The password is left out so that no fast hash of one is ever stored;
# the price is that a retry which differs only in its password counts as the same.
NOT_HASHED = frozenset({"client_mutation_id", "password"})

COMMANDS = uuid5(NAMESPACE_URL, "urn:hindsight:commands")


T = TypeVar("T")
Given = Annotated[T, strawberry.argument(description="What to do, and to what.")]
"""The one argument of every mutation."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What an input asks for, in the domain's terms."""

    stream_id: UUID
    command: Command
    tenant_id: UUID | None = None
    """Of a stream that may be new; without it the stream must exist."""
    expected_version: int | None = None
    password: str | None = None


@strawberry.input
class Input:
    """The input of a mutation."""

    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Any text, best a new UUID for each intent. The same key with the same input is carried out once, however "
        "often it is sent, and gets the first answer again.",
    )
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")

    async def intent(self, context: Context, checks: Checks) -> Intent:
        """What is asked for. Tells the checks what has the wrong form."""
        raise NotImplementedError


@strawberry.input
class ChangeInput(Input):
    """The input of a mutation that changes a thing which is there."""

    id: strawberry.ID = strawberry.field(description="The id of what to change.")
    expected_version: int | None = strawberry.field(
        default=None,
        description="The version that you saw. If it has another one by now, nothing is done and the problem is a Conflict.",
    )

    async def intent(self, context: Context, checks: Checks) -> Intent:
        return Intent(
            stream_id=checks.id("id", self.id),
            command=await self.command(context, checks),
            expected_version=self.expected_version,
        )

    async def command(self, context: Context, checks: Checks) -> Command:
        """The command for the thing. Tells the checks what has the wrong form."""
        raise NotImplementedError


@strawberry.type
class Payload:
    """What a mutation came to."""

    events: list[Event] = strawberry.field(
        default_factory=list, description="The events that it added to the log; none if nothing had to change."
    )
    position: Position | None = strawberry.field(
        default=None,
        description="The position of its last event; a read that must see it sends this as `Hindsight-Min-Position`.",
    )
    problems: list[Problem] = strawberry.field(description="Why it was not done; empty when it was.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


@strawberry.type
class ThingPayload(Payload):
    """What a mutation of one thing came to. Its subclasses show the thing under its name."""

    thing: strawberry.Private[Thing | None] = None

    version: int | None = strawberry.field(
        default=None, description="The version that the thing now has; null when there is a problem."
    )


P = TypeVar("P", bound=ThingPayload)


async def change(info: Info, aggregate: Aggregate[Any, Any, Any], input: Input, payload: type[P]) -> P:
    """Carry out what the input asks of one thing, and say in a payload of that type what came of it."""
    context = info.context
    checks = Checks("input")
    intent = await input.intent(context, checks)
    problems: Sequence[Problem] = checks.problems
    outcome = None
    if not problems:
        try:
            outcome = await context.backend.executor.execute(await request(context, info.field_name, aggregate, input, intent))
            context.wrote(outcome.stream.position)
        except FORESEEN as error:
            problems = [problem(error)]
    return payload(
        thing=_thing(outcome) if outcome else None,
        events=[event(recorded) for recorded in outcome.events] if outcome else [],
        version=outcome.stream.version if outcome else None,
        position=Position(outcome.stream.position) if outcome else None,
        problems=list(problems),
        client_mutation_id=input.client_mutation_id,
    )


async def request(
    context: Context, mutation: str, aggregate: Aggregate[Any, Any, Any], input: Input, intent: Intent, place: int = 0
) -> Request:
    """The intent as a request to the write path. `place` tells apart the commands of one input."""
    key = input.idempotency_key
    return Request(
        aggregate=aggregate,
        stream_id=intent.stream_id,
        command=intent.command,
        metadata=context.metadata,
        tenant_id=intent.tenant_id,
        within=context.caller.within,
        expected_version=intent.expected_version,
        command_id=None if key is None else uuid5(COMMANDS, f"{context.caller.within}\n{context.caller.name}\n{place}\n{key}"),
        request_hash=None if key is None else sha256(_canonical(mutation, input)).digest(),
        credential=None if intent.password is None else await context.backend.passwords.hash(intent.password),
    )


def _canonical(mutation: str, input: Input) -> bytes:
    return orjson.dumps([mutation, _meaning(input)], option=orjson.OPT_SORT_KEYS)


def _meaning(value: Any) -> Any:
    if isinstance(value, list):
        return [_meaning(each) for each in value]
    if is_dataclass(value):
        given = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in NOT_HASHED}
        return {name: _meaning(each) for name, each in given.items() if each is not UNSET}
    return value


def _thing(outcome: Outcome) -> Thing | None:
    return Thing.of_type[outcome.stream.type].seen(outcome.stream)
