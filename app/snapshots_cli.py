"""`hindsight snapshots`: what is kept of folded states, one made by hand, and dropping what need not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.commands import Json, settings_of, show

if TYPE_CHECKING:
    from app.eventstore.snapshots import Snapshot, SnapshotStats
    from app.wiring import Service

snapshots_app = typer.Typer(help="Folded states that are kept, so that long streams are read quickly.")


@snapshots_app.command("stats")
def stats(ctx: typer.Context, as_json: Json = False) -> None:
    """Show how many snapshots there are, of how many streams, and how large they are."""
    from app.process import with_service

    async def work(service: Service) -> SnapshotStats:
        return await service.store.states.snapshots.stats(service.database)

    result = with_service(settings_of(ctx), work)
    show(result if as_json else [result], as_json)


@snapshots_app.command("create")
def create(
    ctx: typer.Context,
    id: Annotated[UUID, typer.Argument(help="The user, role or tenant.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the snapshot.")],
    as_json: Json = False,
) -> None:
    """Keep a thing as all its events make it now."""
    from app.process import with_service

    async def work(service: Service) -> Snapshot:
        return await service.store.states.take_snapshot(id, reason, service.database)

    made = with_service(settings_of(ctx), work)
    show(made, as_json, f"{id} is kept as of version {made.version}, in {made.bytes:,} bytes.")


@snapshots_app.command("prune")
def prune(ctx: typer.Context, as_json: Json = False) -> None:
    """Drop what the policy does not keep, and what other code folded than this program's."""
    from app.process import with_service

    dropped = with_service(settings_of(ctx), lambda service: service.store.states.snapshots.prune())
    show({"dropped": dropped}, as_json, f"{dropped:,} snapshots dropped.")
