"""Snapshots as an operator sees them: what is kept of folded states, and what can be done about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app.api.changes import Given
from app.api.context import Info
from app.api.fields import attribute, field, mutation, reads
from app.api.node import identifier
from app.api.problems import Problem, problem
from app.api.scalars import Position
from app.errors import BadInput, NotFound
from app.eventstore.cache import CacheStats as CacheFigures
from app.eventstore.snapshots import Snapshot as Kept
from app.eventstore.snapshots import SnapshotStats as Figures
from app.security.permissions import OVER_PROJECTIONS


def of_snapshot(description: str) -> Any:
    """A field read from the snapshot."""
    return attribute("kept", description)


def of_figures(description: str) -> Any:
    """A field read from the figures of all snapshots."""
    return attribute("figures", description)


@strawberry.type(description="A state that is kept, so that the events before it need not be folded again. It may be deleted.")
class Snapshot:
    kept: strawberry.Private[Kept]

    version: int = of_snapshot("The version of the thing up to which its events are folded in.")
    position: Position = of_snapshot("The place in the log of the last of them.")
    occurred_at: datetime = of_snapshot("When that one occurred.")
    made_at: datetime = of_snapshot("When it was made.")
    reason: str | None = of_snapshot("Why it was made by hand; null when it was due.")
    bytes: int = of_snapshot("Its size, compressed.")
    usable: bool = of_snapshot("Whether the code that runs folded it; it is ignored otherwise.")


@strawberry.type(description="All snapshots in figures.")
class SnapshotStats:
    figures: strawberry.Private[Figures]

    snapshots: int = of_figures("How many there are.")
    streams: int = of_figures("How many things have one.")
    of_other_code: int = of_figures("How many were folded by other code than runs here, which ignores them.")
    by_hand: int = of_figures("How many were made by hand.")
    bytes: int = of_figures("The size of all, compressed.")
    oldest: datetime | None = of_figures("When the oldest was made.")
    newest: datetime | None = of_figures("When the newest was made.")


@strawberry.type(description="What the process that answers found in its cache of folded states since it began.")
class CacheStats:
    figures: strawberry.Private[CacheFigures]

    states: int = of_figures("How many states it holds in memory.")
    most: int = of_figures("How many it holds at most.")
    hits: int = of_figures("How many it found in memory.")
    shared_hits: int = of_figures("How many it found in Redis instead.")
    misses: int = of_figures("How many had to be folded.")
    hit_rate: float | None = of_figures("Of those looked for, the part that was found: 0 to 1; null while none was looked for.")


@strawberry.input(description="What `createSnapshot` needs.")
class CreateSnapshotInput:
    id: strawberry.ID = strawberry.field(description="The user, role or tenant to keep as it is now.")
    reason: str = strawberry.field(description="Why; it is kept with the snapshot.")
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.type(description="What `createSnapshot` came to.")
class CreateSnapshotPayload:
    snapshot: Snapshot | None = strawberry.field(default=None, description="The snapshot; null when there is a problem.")
    problems: list[Problem] = strawberry.field(description="Why it was not done; empty when it was.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


@strawberry.input(description="What `pruneSnapshots` needs: nothing.")
class PruneSnapshotsInput:
    client_mutation_id: str | None = strawberry.field(default=None, description="Comes back in the payload, as it is.")


@strawberry.type(description="What `pruneSnapshots` came to.")
class PruneSnapshotsPayload:
    dropped: int | None = strawberry.field(default=None, description="How many were dropped; null when there is a problem.")
    problems: list[Problem] = strawberry.field(description="Why it was not done; empty when it was.")
    client_mutation_id: str | None = strawberry.field(description="What the input gave under this name.")


@strawberry.type
class SnapshotQueries:
    @field("What is kept of folded states, in figures.", reads(), OVER_PROJECTIONS)
    async def snapshot_stats(self, info: Info) -> SnapshotStats:
        context = info.context
        return SnapshotStats(figures=await context.store.states.snapshots.stats(context.reads))

    @field("How well the cache of folded states serves the process that answers.", needs=OVER_PROJECTIONS)
    def cache_stats(self, info: Info) -> CacheStats:
        return CacheStats(figures=info.context.store.states.cache.stats())


@strawberry.type
class SnapshotMutations:
    @mutation("Keep a thing as all its events make it now, folded from the first one.", OVER_PROJECTIONS)
    async def create_snapshot(self, info: Info, input: Given[CreateSnapshotInput]) -> CreateSnapshotPayload:
        store, made, problems = info.context.store, None, list[Problem]()
        try:
            kept = await store.states.take_snapshot(identifier("id", input.id), input.reason, store.database)
            made = Snapshot(kept=kept)
        except (BadInput, NotFound) as error:
            problems.append(problem(error))
        return CreateSnapshotPayload(snapshot=made, problems=problems, client_mutation_id=input.client_mutation_id)

    @mutation(
        "Drop snapshots that the policy does not keep, and those that other code folded than the one that runs.",
        OVER_PROJECTIONS,
    )
    async def prune_snapshots(self, info: Info, input: Given[PruneSnapshotsInput]) -> PruneSnapshotsPayload:
        dropped = await info.context.store.states.snapshots.prune()
        return PruneSnapshotsPayload(dropped=dropped, problems=[], client_mutation_id=input.client_mutation_id)
