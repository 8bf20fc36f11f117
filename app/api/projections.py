"""The read tables as an operator sees them: how far each is, how its rebuild goes, and what can be done about them."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, TypeVar

import strawberry

from app.api.changes import Given
from app.api.context import Context, Info
from app.api.fields import attribute, described, field, mutation, reads
from app.api.problems import Problem, problem
from app.api.scalars import Position
from app.errors import BadInput, RebuildStopped, RebuildUnderWay
from app.security.permissions import OVER_PROJECTIONS
from projections import generations, rebuilds
from projections.engine import ProjectionStatus
from projections.rebuild import roll_back
from projections.rebuilds import Phase, RebuildProgress

MOST_WORKERS = 16
"""Processes that a client may ask for."""

described(
    Phase,
    "What a rebuild is at, or how it ended.",
    {
        "READING": "It reads and folds the log.",
        "INDEXING": "It builds the indexes.",
        "COMPARING": "It catches up with the live tables and compares all rows with them.",
        "SWITCHING": "It waits for queries to let go of the live tables, for a moment.",
        "DIFFERENT": "Rows differ from the live ones: it waits to be asked for again with `allowDifferences`, or cancelled.",
        "DONE": "Queries see what it made.",
        "VERIFIED": "It was made only to be compared with the live tables.",
        "CANCELLED": "Somebody ended it; the live tables stayed.",
        "FAILED": "It failed, for the reason given; the live tables stayed.",
    },
)


def of_progress(description: str) -> Any:
    """A field read from the rebuild's progress."""
    return attribute("progress", description)


def of_status(description: str) -> Any:
    """A field read from the projection's status."""
    return attribute("standing", description)


@strawberry.type(description="The newest rebuild of a read table: new tables, made from the whole log beside the live ones.")
class Rebuild:
    progress: strawberry.Private[RebuildProgress]

    generation: int = of_progress("The number of the build.")
    phase: Phase = of_progress("What it is at, or how it ended.")
    target: Position = of_progress("The last position that it reads before it catches up with the live tables.")
    done: int = of_progress("How many positions up to there it has read.")
    share: float = of_progress("Of the log up to there, how much that is: 0 to 1.")
    rate: float = of_progress("Events a second since it began, or went on after a stop.")
    remaining_seconds: float | None = of_progress("Until it has read the log, at that rate; null when it has.")
    started_at: datetime = of_progress("When it was asked for.")
    ended_at: datetime | None = of_progress("When it ended; null while it is under way or waits.")
    reason: str | None = of_progress("Why it ended without a switch, or waits.")


@strawberry.type(description="A read table, which the projection engine keeps current with the log.")
class Projection:
    standing: strawberry.Private[ProjectionStatus]
    newest: strawberry.Private[RebuildProgress | None]

    name: str = of_status("Its name, such as `users`.")
    generation: int = of_status("Which build of it queries see.")
    status: str = of_status("`building`, `running`, `paused` or `failed`; then `error` says why, and it tries again by itself.")
    checkpoint: int = of_status("The position up to which it holds all events.")
    lag: int = of_status("How many events of the log it has not seen yet.")
    lag_seconds: float = of_status("For how many seconds the first of those has been in the log.")
    parked: int = of_status("How many keys have events waiting because one could not be folded; `deadLetters` has them.")
    error: str | None = of_status("Why it stands still.")

    @field("Its newest rebuild; null when there never was one.")
    def rebuild(self) -> Rebuild | None:
        return None if self.newest is None else Rebuild(progress=self.newest)


@strawberry.input
class ProjectionInput:
    """What a mutation of a read table needs at least."""

    projection: str = strawberry.field(description="The read table, such as `users`.")
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.input(description="What `rebuildProjection` needs.")
class RebuildProjectionInput(ProjectionInput):
    workers: int = strawberry.field(default=1, description=f"Processes that share the work: 1 to {MOST_WORKERS}.")
    allow_differences: bool = strawberry.field(default=False, description="Switch even if rows differ from the live ones.")


@strawberry.input(description="What `cancelRebuild` needs.")
class CancelRebuildInput(ProjectionInput):
    pass


@strawberry.input(description="What `rollbackProjection` needs.")
class RollbackProjectionInput(ProjectionInput):
    pass


@strawberry.input(description="What `pauseProjection` needs.")
class PauseProjectionInput(ProjectionInput):
    pass


@strawberry.input(description="What `resumeProjection` needs.")
class ResumeProjectionInput(ProjectionInput):
    pass


@strawberry.type
class ProjectionPayload:
    """What a mutation of a read table came to."""

    projection: Projection | None = strawberry.field(
        default=None, description="The read table as it stands now; null when there is none so named."
    )
    problems: list[Problem] = strawberry.field(description="Why it was not done; empty when it was.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


@strawberry.type(description="What `rebuildProjection` came to.")
class RebuildProjectionPayload(ProjectionPayload):
    pass


@strawberry.type(description="What `cancelRebuild` came to.")
class CancelRebuildPayload(ProjectionPayload):
    pass


@strawberry.type(description="What `rollbackProjection` came to.")
class RollbackProjectionPayload(ProjectionPayload):
    pass


@strawberry.type(description="What `pauseProjection` came to.")
class PauseProjectionPayload(ProjectionPayload):
    pass


@strawberry.type(description="What `resumeProjection` came to.")
class ResumeProjectionPayload(ProjectionPayload):
    pass


P = TypeVar("P", bound=ProjectionPayload)


async def seen(context: Context) -> list[Projection]:
    """The live generation of every projection, in the order of their names."""
    newest = {each.projection: each for each in await rebuilds.progress_of_all(context.store.database)}
    standing = await context.backend.engine.status()
    return [Projection(standing=each, newest=newest.get(each.name)) for each in standing if each.live]


async def done(info: Info, input: ProjectionInput, work: Awaitable[Any], payload: type[P]) -> P:
    """The payload of that type for the work, once it is done or refused."""
    problems: list[Problem] = []
    try:
        await work
    except (BadInput, RebuildUnderWay, RebuildStopped) as error:
        problems.append(problem(error))
    named = [each for each in await seen(info.context) if each.standing.name == input.projection]
    return payload(projection=named[0] if named else None, problems=problems, client_mutation_id=input.client_mutation_id)


@strawberry.type
class ProjectionQueries:
    @field(
        "The read tables: how far each is, and how its rebuild goes.",
        reads(statements=2),
        OVER_PROJECTIONS,
    )
    async def projections(self, info: Info) -> list[Projection]:
        return await seen(info.context)


@strawberry.type
class ProjectionMutations:
    @mutation(
        "Fold the whole log again into new tables beside the live ones, compare, and switch: in processes of its own, while "
        "queries go on. The answer comes when it has begun; `projections { rebuild }` shows how it goes.",
        OVER_PROJECTIONS,
    )
    async def rebuild_projection(self, info: Info, input: Given[RebuildProjectionInput]) -> RebuildProjectionPayload:
        return await done(info, input, _rebuild(info.context, input), RebuildProjectionPayload)

    @mutation("End the rebuild of a read table; the live tables stay.", OVER_PROJECTIONS)
    async def cancel_rebuild(self, info: Info, input: Given[CancelRebuildInput]) -> CancelRebuildPayload:
        return await done(info, input, _cancel(info.context, input.projection), CancelRebuildPayload)

    @mutation(
        "Let queries see the tables again that were live before the last rebuild, once these have caught up.",
        OVER_PROJECTIONS,
    )
    async def rollback_projection(self, info: Info, input: Given[RollbackProjectionInput]) -> RollbackProjectionPayload:
        return await done(info, input, _roll_back(info.context, input.projection), RollbackProjectionPayload)

    @mutation(
        "Let nobody advance a read table until it is resumed; queries see it as it stands.",
        OVER_PROJECTIONS,
    )
    async def pause_projection(self, info: Info, input: Given[PauseProjectionInput]) -> PauseProjectionPayload:
        return await done(info, input, _set_paused(info.context, input.projection, paused=True), PauseProjectionPayload)

    @mutation("Let a paused read table be advanced again.", OVER_PROJECTIONS)
    async def resume_projection(self, info: Info, input: Given[ResumeProjectionInput]) -> ResumeProjectionPayload:
        return await done(info, input, _set_paused(info.context, input.projection, paused=False), ResumeProjectionPayload)


async def _rebuild(context: Context, input: RebuildProjectionInput) -> None:
    if not 1 <= input.workers <= MOST_WORKERS:
        raise BadInput("workers", f"must be from 1 to {MOST_WORKERS}, not {input.workers}")
    projection = context.backend.engine.projection(input.projection)
    await context.backend.rebuild(projection.name, input.workers, input.allow_differences)


async def _cancel(context: Context, name: str) -> None:
    if not await rebuilds.cancel(context.store.database, context.backend.engine.projection(name)):
        raise BadInput("projection", f"nobody is rebuilding {name}")


async def _roll_back(context: Context, name: str) -> None:
    await roll_back(context.store, context.backend.engine.projection(name))


async def _set_paused(context: Context, name: str, *, paused: bool) -> None:
    await generations.set_paused(context.store.database, context.backend.engine.projection(name), paused=paused)
    context.backend.engine.wake()
