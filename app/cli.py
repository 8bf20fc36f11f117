"""The command `hindsight`.

Results go to standard output, progress and logs to standard error. Exit codes: 0 done, 1 failed, 2 wrong use, 3 found
problems. What a command needs is imported when it runs, so that `--help` and a mistyped word are answered at once.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from app.commands import FAILED, PROBLEMS, WRONG_USE, Json
from app.commands import settings_of as _settings
from app.commands import show as _show
from app.dead_letters_cli import dead_letters_app
from app.errors import BadInput, ConfigurationError, HindsightError
from app.history_cli import history_app
from app.projections_cli import projections_app
from app.snapshots_cli import snapshots_app
from app.tokens_cli import tokens_app

if TYPE_CHECKING:
    from app.settings import Settings
    from app.wiring import Service


class Work(StrEnum):
    """What can be measured."""

    APPEND = "append"
    IMPORT = "import"
    QUERY = "query"
    MUTATE = "mutate"
    LOGIN = "login"
    SUBSCRIBE = "subscribe"
    HOSTILE = "hostile"
    REBUILD = "rebuild"
    HISTORY = "history"


class Commands(TyperGroup):
    """The commands. Options of `hindsight` itself may stand anywhere on the line; an error becomes one line and a code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Also takes `hindsight serve --debug` for `hindsight --debug serve`."""
        return super().parse_args(ctx, _own_options_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, BrokenPipeError):
            raise  # Typer ends the process with the code, or in silence
        except typer.TyperException as error:
            typer.echo(f"Error: {error.format_message().rstrip('.')}; see --help", err=True)
            raise typer.Exit(WRONG_USE) from None
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            typer.echo(_one_line(error), err=True)
            raise typer.Exit(WRONG_USE if isinstance(error, BadInput | ConfigurationError) else FAILED) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
schema_app = typer.Typer(help="The GraphQL schema.")
app.add_typer(projections_app, name="projections")
app.add_typer(schema_app, name="schema")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(snapshots_app, name="snapshots")
app.add_typer(history_app)
app.add_typer(tokens_app)


@app.callback()
def hindsight(
    ctx: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="Where the PostgreSQL that starts by itself keeps its data.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """An identity service that forgets nothing: GraphQL over an event-sourced user directory.

    Without HINDSIGHT_DATABASE_URL a PostgreSQL starts by itself, and stops with the last command that uses it.
    """
    ctx.obj = {"data_dir": data_dir} if data_dir else {}


@app.command()
def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1)] = 1,
    demo: Annotated[bool, typer.Option("--demo", help="Make demo data first if the log is empty.")] = False,
    without_projections: Annotated[
        bool, typer.Option("--without-projections", help="Leave the read tables to `hindsight projections run`.")
    ] = False,
) -> None:
    """Answer GraphQL over HTTP, and show GraphiQL, until Ctrl-C."""
    from app.process import database, in_loop
    from app.serve import serve as serve_http
    from app.tokens_cli import operators_token

    settings = _settings(ctx, **{"run_projections": False} if without_projections else {})
    with database(settings) as url:
        if demo:
            _make_demo(settings.model_copy(update={"database_url": url}), users=1_000, events=10_000, seed=1, only_if_empty=True)
        # A database of its own is somebody's first, or for trying things out; elsewhere `hindsight token` makes one when asked.
        own = settings.database_url is None and settings.authentication == "required"
        token = in_loop(lambda: operators_token(settings)) if own else None
        serve_http(settings, url, host=host, port=port, workers=workers, token=token)


@app.command()
def migrate(ctx: typer.Context) -> None:
    """Bring the database to the newest migration; safe to run from several machines at once."""
    from app.eventstore.migrate import migrate as migrate_database
    from app.process import in_loop, server

    with server(_settings(ctx)) as url:
        in_loop(lambda: migrate_database(url))
    typer.echo("The database is at the newest migration.")


@app.command("import")
def import_(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", callback=lambda files: _there(files), help="Plain or gzip; - is standard input."),
    ],
    batch: Annotated[int, typer.Option(help="Events in one transaction.", min=1)] = 10_000,
    as_json: Json = False,
) -> None:
    """Append the events in files of CloudEvents, one JSON object a line; what the log holds already is passed over."""
    from app.process import with_service
    from app.rebuilding import catch_up
    from app.terminal import progress
    from app.transfer import Files, import_files

    async def work(service: Service) -> dict[str, Any]:
        reading, began = Files(files), time.perf_counter()
        with progress("import") as report:
            result = await import_files(
                service.store,
                reading,
                batch=batch,
                on_progress=lambda seen, added: report(reading.share, f"{seen:,} events, {added:,} new"),
            )
        await catch_up(service.store, service.engine)
        seconds = time.perf_counter() - began
        return {"seen": result.seen, "added": result.added, "position": result.position, "seconds": round(seconds, 3)}

    result = with_service(_settings(ctx), work)
    rate = result["seen"] / result["seconds"]
    text = "{seen:,} events read, {added:,} new; log and read tables are at position {position:,}; {seconds:.1f} s"
    _show(result, as_json, f"{text.format_map(result)}, {rate:,.0f} events/s")


@app.command()
def export(
    ctx: typer.Context,
    first: Annotated[int, typer.Option("--from", metavar="N", help="First position.", min=1)] = 1,
    last: Annotated[int | None, typer.Option("--to", metavar="N", help="Last position; else the log's end.", min=1)] = None,
) -> None:
    """Write the log to standard output, as `import` reads it."""
    from app.process import with_service
    from app.transfer import export_lines

    async def work(service: Service) -> None:
        async for line in export_lines(service.store, first, last):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    with_service(_settings(ctx), work)


@app.command()
def demo(
    ctx: typer.Context,
    users: Annotated[int, typer.Option(help="How many users.", min=1)] = 1_000,
    events: Annotated[int, typer.Option(help="How many events in all.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Another seed makes other data; the same one the same again.")] = 1,
) -> None:
    """Add made-up tenants, roles and users with several years of history."""
    _make_demo(_settings(ctx), users=users, events=events, seed=seed)


@schema_app.command("print")
def schema_print() -> None:
    """Write the GraphQL schema to standard output."""
    from app.api.schema import sdl

    typer.echo(sdl(), nl=False)


@schema_app.command("check")
def schema_check(
    old: Annotated[
        typer.FileText, typer.Argument(encoding="utf-8", metavar="OLD.graphql", help="An older schema; - is standard input.")
    ],
    as_json: Json = False,
) -> None:
    """List what differs from an older schema: breaking, dangerous, safe; exit code 3 when something breaks clients."""
    from graphql import GraphQLError, Source, build_schema

    from app.api.compatibility import Impact, changes
    from app.api.schema import sdl

    try:
        before = build_schema(Source(old.read(), old.name))
    except (GraphQLError, TypeError, UnicodeDecodeError) as error:
        what_and_where = [line for line in str(error).splitlines()[:3] if line]
        raise BadInput(old.name, f"is no GraphQL schema: {' '.join(what_and_where)}") from None
    found = changes(before, build_schema(sdl()))
    _show(found, as_json, None if found else "The schema is the same.")
    if any(change.impact is Impact.BREAKING for change in found):
        raise typer.Exit(PROBLEMS)


@app.command()
def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Look at what is configured, reachable, behind or wrong; exit code 3 when something is."""
    from app.doctor import examine

    findings = examine(ctx.obj)
    _show(findings, as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(PROBLEMS)


@app.command()
def bench(
    ctx: typer.Context,
    what: Annotated[list[Work] | None, typer.Argument(help="All of them if absent.")] = None,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Events to import, instead of made-up ones.")
    ] = None,
    events: Annotated[
        int, typer.Option(help="Events that `rebuild` and `history` have before them, ten a user.", min=1_000)
    ] = 100_000,
    as_json: Json = False,
) -> None:
    """Measure this machine, with its own limit beside it in the same run; in databases of its own, dropped afterwards."""
    from app.bench.run import measure

    _show(measure(_settings(ctx), [work.value for work in what or Work], file, events), as_json)


def main() -> None:
    """The entry point."""
    app()


def _there(files: list[Path]) -> list[Path]:
    """Typer's own check would look for a file named -."""
    for file in files:
        if file != Path("-") and (not file.exists() or file.is_dir()):
            raise typer.BadParameter(f"there is no file {file}")
    return files


def _own_options_first(args: Sequence[str]) -> list[str]:
    own: list[str] = []
    rest: list[str] = []
    left = iter(args)
    for arg in left:
        if arg == "--":
            rest += [arg, *left]
        elif arg == "--data-dir":
            own += [arg, *islice(left, 1)]
        elif arg == "--debug" or arg.startswith("--data-dir="):
            own.append(arg)
        else:
            rest.append(arg)
    return own + rest


def _make_demo(settings: Settings, *, users: int, events: int, seed: int, only_if_empty: bool = False) -> None:
    from app.demo import history
    from app.eventstore.bulk import append_bulk
    from app.process import with_service
    from app.rebuilding import catch_up
    from app.terminal import progress

    async def work(service: Service) -> None:
        if only_if_empty and await service.store.head():
            return
        facts = history(service.store.codec, users=users, events=events, seed=seed)
        with progress("demo data") as report:
            result = await append_bulk(
                service.store, facts, on_progress=lambda seen, added: report(seen / events, f"{added:,} new")
            )
        await catch_up(service.store, service.engine)
        typer.echo(f"{result.added:,} events of made-up data added; the log is at position {result.position:,}.")

    with_service(settings, work)


def _one_line(error: BaseException) -> str:
    match error:
        case HindsightError():
            return f"Error: {error.message}"
        case KeyboardInterrupt():
            return "Stopped; nothing is half done."
        case OSError():
            return f"Error: {error}"
        case _:
            return f"Error that nobody foresaw: {type(error).__name__}: {' '.join(str(error).split())}; --debug shows where"


if __name__ == "__main__":
    main()
