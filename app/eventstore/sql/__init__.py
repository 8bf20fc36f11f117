"""The operations that are more than a line of SQL, one a file."""

from __future__ import annotations

from importlib.resources import files


def functions() -> list[str]:
    """The statements that (re)create the event store's functions."""
    return [file.read_text() for file in sorted(files(__name__).iterdir(), key=lambda f: f.name) if file.name.endswith(".sql")]
