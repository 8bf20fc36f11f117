"""What commands share: the settings they run with, and how they show what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Settings

FAILED, WRONG_USE, PROBLEMS = 1, 2, 3
"""Exit codes."""

Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]


def operator() -> str:
    """The name under which the log keeps what is done from this machine's command line."""
    from getpass import getuser

    return f"operator {getuser()}"


def settings_of(ctx: typer.Context, **overrides: Any) -> Settings:
    """The settings, with what the command line says. Raises ConfigurationError."""
    from app.process import log_to_standard_error
    from app.settings import load_settings

    settings = load_settings(**ctx.obj, **overrides)
    log_to_standard_error(settings.log_level)
    return settings


def show(result: Any, as_json: bool, text: str | None = None) -> None:
    """A result for programs or for people: `text`, or the table that the structs in it make."""
    import msgspec

    from app.terminal import show_table

    if as_json:
        typer.echo(msgspec.json.encode(result))
    elif text is not None:
        typer.echo(text)
    else:
        show_table(result)
