"""`hindsight projections`: the engine that keeps the read tables current, and what an operator does about them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.commands import PROBLEMS, Json, settings_of, show

if TYPE_CHECKING:
    from app.settings import Settings
    from app.wiring import Service
    from projections.rebuild import BuildPasses

T = TypeVar("T")

LOOK = 0.5
"""Seconds between two looks at how far a rebuild is."""

projections_app = typer.Typer(help="The projection engine, which keeps the read tables current.")

Name = Annotated[str, typer.Argument(help="The read table, such as users.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME…", help="Read tables, such as users; several share one pass.")]
Workers = Annotated[int, typer.Option(help="Processes that share the work by key.", min=1, max=64)]
Memory = Annotated[str, typer.Option(help="What all processes of it may take together, such as 512MiB.")]


@projections_app.command("status")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show how far each read table is."""
    from app.process import with_service

    show(with_service(settings_of(ctx), lambda service: service.engine.status()), as_json)


@projections_app.command("run")
def run(ctx: typer.Context) -> None:
    """Keep the read tables current until Ctrl-C; any number may run, on any machine."""
    from app.process import with_service
    from app.rebuilding import renew_elsewhere

    async def work(service: Service) -> None:
        await service.engine.prepare()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.engine.run())
            tasks.create_task(renew_elsewhere(service.store, service.engine, service.url))

    with suppress(KeyboardInterrupt):
        with_service(settings_of(ctx), work)


@projections_app.command("rebuild")
def rebuild(
    ctx: typer.Context,
    names: Names,
    workers: Workers = 1,
    memory: Memory = "1GiB",
    allow_differences: Annotated[
        bool, typer.Option("--allow-differences", help="Switch even if rows differ from those that are live.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fold the whole log again into new tables beside the live ones, compare, and let queries see the new ones.

    Killed, it goes on where it was when it is asked for again. Exit code 3 when rows differ, which stops the switch.
    """
    from projections.rebuild import RowsDiffer
    from projections.rebuild import rebuild as rebuild_projections

    async def work(service: Service, build: BuildPasses) -> Any:
        projections = [service.engine.projection(name) for name in dict.fromkeys(names)]
        return await rebuild_projections(service.store, projections, build, shares=workers, allow_differences=allow_differences)

    try:
        show(_building(settings_of(ctx), names, workers, memory, work), as_json)
    except RowsDiffer as error:
        typer.echo(f"Error: {error.message}", err=True)
        raise typer.Exit(PROBLEMS) from None


@projections_app.command("verify")
def verify(
    ctx: typer.Context,
    name: Name,
    sample: Annotated[int | None, typer.Option(help="Only so many rows, picked at random.", min=1)] = None,
    workers: Workers = 1,
    memory: Memory = "1GiB",
    as_json: Json = False,
) -> None:
    """Fold the events again; name each row that differs, its fields, and the first event after which it does.

    Exit code 3 when one does.
    """
    from projections.rebuild import described
    from projections.rebuild import verify as verify_projection

    async def work(service: Service, build: BuildPasses) -> Any:
        return await verify_projection(service.store, service.engine.projection(name), build, shares=workers, sample=sample)

    differences = _building(settings_of(ctx), [name], workers, memory, work)
    show(differences, as_json, described(differences) or f"All rows of {name} are what their events make them.")
    if differences.count:
        raise typer.Exit(PROBLEMS)


@projections_app.command("cancel")
def cancel(ctx: typer.Context, name: Name) -> None:
    """End the rebuild of a read table; what is live stays."""
    from app.process import with_service
    from projections.rebuilds import cancel as cancel_rebuild

    async def work(service: Service) -> bool:
        return await cancel_rebuild(service.database, service.engine.projection(name))

    cancelled = with_service(settings_of(ctx), work)
    typer.echo(f"The rebuild of {name} is cancelled." if cancelled else f"Nobody is rebuilding {name}.")


@projections_app.command("rollback")
def rollback(ctx: typer.Context, name: Name) -> None:
    """Let queries see the tables again that were live before the last rebuild, once they have caught up."""
    from app.process import with_service
    from projections.rebuild import roll_back

    generation = with_service(settings_of(ctx), lambda service: roll_back(service.store, service.engine.projection(name)))
    typer.echo(f"Generation {generation} of {name} is live.")


@projections_app.command("pause")
def pause(ctx: typer.Context, name: Name) -> None:
    """Let nobody advance a read table until it is resumed; queries see it as it stands."""
    _set_paused(ctx, name, paused=True)
    typer.echo(f"{name} is paused.")


@projections_app.command("resume")
def resume(ctx: typer.Context, name: Name) -> None:
    """Let a paused read table be advanced again."""
    _set_paused(ctx, name, paused=False)
    typer.echo(f"{name} goes on.")


def _set_paused(ctx: typer.Context, name: str, *, paused: bool) -> None:
    from app.process import with_service
    from projections.generations import set_paused

    async def work(service: Service) -> None:
        await set_paused(service.database, service.engine.projection(name), paused=paused)

    with_service(settings_of(ctx), work)


def _building(
    settings: Settings,
    names: Sequence[str],
    workers: int,
    memory: str,
    work: Callable[[Service, BuildPasses], Awaitable[T]],
) -> T:
    """What the work comes to, which is told how to build; meanwhile its progress shows. Raises BadInput for a wrong size."""
    from app.process import with_service
    from app.rebuilding import bytes_of, in_processes, in_this_process

    size = bytes_of(memory)

    async def main(service: Service) -> T:
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(_tell(service, names))
            build = in_this_process(service.store, size) if workers == 1 else in_processes(service.url, workers, size)
            try:
                return await work(service, build)
            finally:
                telling.cancel()

    try:
        return with_service(settings, main)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _tell(service: Service, names: Sequence[str]) -> None:
    from app.terminal import progress
    from projections.rebuilds import progress_of_all

    with progress("rebuild") as report:
        while True:
            await asyncio.sleep(LOOK)
            under_way = [
                each for each in await progress_of_all(service.database) if each.projection in names and not each.ended_at
            ]
            if under_way:
                slowest = min(under_way, key=lambda each: each.share)
                report(slowest.share, f"{slowest.projection}: {slowest.words}")
