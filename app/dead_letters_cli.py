"""`hindsight dead-letters`: the events that wait because one of them could not be folded into a read table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from app.commands import Json, operator, settings_of, show
from app.errors import BadInput

if TYPE_CHECKING:
    from app.wiring import Service
    from projections.dead_letters import DeadLetter
    from projections.retrying import Retried

dead_letters_app = typer.Typer(help="Events that could not be folded into a read table, and wait.")

Projection = Annotated[str, typer.Argument(help="The read table, such as users.")]
OneProjection = Annotated[str | None, typer.Argument(help="The read table, such as users; all if absent.")]
Key = Annotated[str, typer.Argument(help="Which row, as `list` shows it.")]


class Line(msgspec.Struct, frozen=True):
    """What `list` shows of a letter."""

    projection: str
    key: str
    position: int
    type: str
    attempts: int
    behind: int
    error: str


@dead_letters_app.command("list")
def list_(
    ctx: typer.Context,
    projection: OneProjection = None,
    skipped: Annotated[bool, typer.Option("--skipped", help="Those that were skipped, with the reason, instead.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """Show the first event that waits at each key, and how many wait behind it."""
    from app.process import with_service

    letters = with_service(settings_of(ctx), lambda service: _letters(service, projection, skipped=skipped, limit=limit))
    show(letters if as_json else [_line(letter) for letter in letters], as_json)


@dead_letters_app.command("show")
def show_(ctx: typer.Context, projection: Projection, key: Key, as_json: Json = False) -> None:
    """Show all about the first event that waits at a key, with the place in the code where it failed."""
    from app.process import with_service

    letter = with_service(settings_of(ctx), lambda service: _first(service, projection, key))
    show(letter, as_json, _text(letter))


@dead_letters_app.command("retry")
def retry(
    ctx: typer.Context,
    projection: Projection,
    key: Annotated[str | None, typer.Argument(help="Which row, as `list` shows it; every row if absent.")] = None,
    as_json: Json = False,
) -> None:
    """Fold the events that wait, in their order and as far as that goes: after what kept them from it was mended."""
    from app.process import with_service

    result = with_service(settings_of(ctx), lambda service: service.engine.retrying.retry(projection, key))
    show(result, as_json, _outcome(result))


@dead_letters_app.command("skip")
def skip(
    ctx: typer.Context,
    projection: Projection,
    key: Key,
    position: Annotated[int, typer.Argument(help="The event's position: the first that waits there.", min=1)],
    reason: Annotated[str, typer.Option(help="Why the event shall not count; it is kept.")],
    as_json: Json = False,
) -> None:
    """Let the first event that waits at a key never count for that row, and fold those behind it."""
    from app.process import with_service

    async def work(service: Service) -> Retried:
        return await service.engine.retrying.skip(projection, key, position, by=operator(), reason=reason)

    result = with_service(settings_of(ctx), work)
    show(result, as_json, f"Skipped. {_outcome(result)}")


async def _letters(service: Service, projection: str | None, *, skipped: bool, limit: int) -> list[DeadLetter]:
    from app.eventstore.paging import LARGEST_SIZE, PageRequest
    from projections import dead_letters

    if projection is not None:
        service.engine.projection(projection)
    found: list[DeadLetter] = []
    after = None
    while len(found) < limit:
        request = PageRequest(first=min(limit - len(found), LARGEST_SIZE), after=after)
        page = await dead_letters.page(service.database, projection, skipped=skipped, request=request)
        found += page.items
        if not page.has_next:
            break
        after = page.cursors[-1]
    return found


async def _first(service: Service, projection: str, key: str) -> DeadLetter:
    from projections import dead_letters

    service.engine.projection(projection)
    page = await dead_letters.page(service.database, projection, key)
    if not page.items:
        raise BadInput("key", f"no event of {projection} waits at {key!r}; `hindsight dead-letters list` shows where some do")
    return page.items[0]


def _line(letter: DeadLetter) -> Line:
    error = letter.error or ""
    if letter.skipped_at is not None:
        error = f"{error} (skipped: {letter.skipped_reason})"
    return Line(letter.projection, letter.key, letter.position, letter.type, letter.attempts, letter.behind, error)


def _text(letter: DeadLetter) -> str:
    fields = {name.replace("_", " "): getattr(letter, name) for name in letter.__struct_fields__ if name != "traceback"}
    lines = [f"{name:<12}{value}" for name, value in fields.items() if value is not None]
    return "\n".join([*lines, "", letter.traceback or "It only waited so far."]).rstrip()


def _outcome(result: Retried) -> str:
    parked = "1 key of the table is" if result.parked == 1 else f"{result.parked:,} keys of the table are"
    return f"{result.applied:,} events folded; {parked} parked."
