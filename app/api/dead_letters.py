"""The events that wait because one of them could not be folded into a read table: shown, retried, skipped."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

import strawberry

from app.api.changes import Given
from app.api.connections import After, Before, Connection, First, Last
from app.api.context import Info
from app.api.fields import attribute, field, mutation, reads
from app.api.problems import Problem, problem
from app.api.scalars import Position
from app.errors import BadInput
from app.eventstore.paging import PageRequest
from app.security.permissions import OVER_PROJECTIONS
from projections import dead_letters
from projections.retrying import Retried


def of_letter(description: str, name: str = "") -> Any:
    """A field read from the letter."""
    return attribute("letter", description, name)


@strawberry.type(
    description="An event that could not be folded into a row of a read table. It waits, and later events of the same row wait "
    "behind it in their order; all other rows go on without it."
)
class DeadLetter:
    letter: strawberry.Private[dead_letters.DeadLetter]

    projection: str = of_letter("The read table that lacks it, such as `users`.")
    generation: int = of_letter("Which build of that table.")
    key: str = of_letter(
        "Which row: the values of its key with / between them, for a user the id. Or `stream:` and a stream's id, when it cannot "
        "be told which rows the event concerns."
    )
    position: Position = of_letter("The event's place in the log.")
    event_id: strawberry.ID = of_letter("The event's id.")
    event_type: str = of_letter("Which kind of event it is.", name="type")
    stream_id: strawberry.ID = of_letter("The id of the thing that it happened to.")
    error: str | None = of_letter("What is wrong, in a line; null when the event only waited so far.")
    traceback: str | None = of_letter("Where in the code it went wrong.")
    attempts: int = of_letter("How often it was tried.")
    behind: int = of_letter("How many later events wait behind it.")
    parked_at: datetime = of_letter("Since when it has been waiting.")
    skipped_at: datetime | None = of_letter("When somebody decided that it shall not count.")
    skipped_by: str | None = of_letter("Who decided so.")
    skipped_reason: str | None = of_letter("Why.")


@strawberry.input(description="What `retryDeadLetters` needs.")
class RetryDeadLettersInput:
    projection: str = strawberry.field(description="The read table, such as `users`.")
    key: str | None = strawberry.field(default=None, description="The key of one row; all of the table's, when not given.")
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.input(description="What `skipDeadLetter` needs.")
class SkipDeadLetterInput:
    projection: str = strawberry.field(description="The read table, such as `users`.")
    key: str = strawberry.field(description="The key of the row.")
    position: Position = strawberry.field(
        description="The position of the event, which must be the first that waits there: nobody skips what they have not seen."
    )
    reason: str = strawberry.field(description="Why it shall not count, for those who wonder later.")
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.type
class RetryPayload:
    """What another attempt came to."""

    applied: int = strawberry.field(default=0, description="How many events wait there no longer, because they were folded now.")
    parked: int | None = strawberry.field(
        default=None, description="How many keys of the read table are parked still; null when there is a problem."
    )
    problems: list[Problem] = strawberry.field(description="Why it was not done; empty when it was.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


@strawberry.type(description="What `retryDeadLetters` came to.")
class RetryDeadLettersPayload(RetryPayload):
    pass


@strawberry.type(description="What `skipDeadLetter` came to.")
class SkipDeadLetterPayload(RetryPayload):
    pass


P = TypeVar("P", bound=RetryPayload)


async def retried(attempt: Awaitable[Retried], payload: type[P], client_mutation_id: str | None) -> P:
    """What the attempt came to, in a payload of that type."""
    try:
        result = await attempt
    except BadInput as error:
        return payload(applied=0, parked=None, problems=[problem(error)], client_mutation_id=client_mutation_id)
    return payload(applied=result.applied, parked=result.parked, problems=[], client_mutation_id=client_mutation_id)


InProjection = Annotated[str | None, strawberry.argument(description="Of this read table only, such as `users`.")]
AtKey = Annotated[str | None, strawberry.argument(description="At this key only; for a user, the id.")]
Skipped = Annotated[
    bool, strawberry.argument(description="Those that wait no longer because somebody skipped them, with the reason, instead.")
]


@strawberry.type
class DeadLetterQueries:
    @field(
        "The events that wait because they could not be folded into a read table: of each row the first, which holds up those "
        "behind it. In the order of the tables and of their keys.",
        reads(),
        OVER_PROJECTIONS,
    )
    async def dead_letters(
        self,
        info: Info,
        projection: InProjection = None,
        key: AtKey = None,
        skipped: Skipped = False,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[DeadLetter]:
        context = info.context
        if projection is not None:
            context.backend.engine.projection(projection)
        request = PageRequest.checked(first, after, last, before)
        page = await dead_letters.page(context.reads, projection, key, skipped=skipped, request=request)
        counting = partial(dead_letters.count, context.reads, projection, key, skipped=skipped)
        return Connection(page=page, nodes=[DeadLetter(letter=letter) for letter in page.items], counting=counting)


@strawberry.type
class DeadLetterMutations:
    @mutation(
        "Fold the events that wait at a key, or at every key of a read table, in their order and as far as that goes: after what "
        "kept them from it was mended.",
        OVER_PROJECTIONS,
    )
    async def retry_dead_letters(self, info: Info, input: Given[RetryDeadLettersInput]) -> RetryDeadLettersPayload:
        attempt = info.context.backend.engine.retrying.retry(input.projection, input.key)
        return await retried(attempt, RetryDeadLettersPayload, input.client_mutation_id)

    @mutation(
        "Let the first event that waits at a key never count for that row, and fold those behind it. The log keeps the event, "
        "and the reason is kept; a later build of the read table tries it again.",
        OVER_PROJECTIONS,
    )
    async def skip_dead_letter(self, info: Info, input: Given[SkipDeadLetterInput]) -> SkipDeadLetterPayload:
        retrying, by = info.context.backend.engine.retrying, info.context.caller.name
        attempt = retrying.skip(input.projection, input.key, input.position, by=by, reason=input.reason)
        return await retried(attempt, SkipDeadLetterPayload, input.client_mutation_id)
