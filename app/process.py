"""What every command needs around it: a database, an event loop, a way to stop, a place for logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import uvloop

from app.embedded import running
from app.errors import ConfigurationError
from app.settings import Settings
from app.wiring import Service, service

T = TypeVar("T")

COMMAND_DEADLINE_MS = 600_000
"""No client waits for a command, and a batch of an import may take its time on a slow disk."""


@contextmanager
def server(settings: Settings) -> Iterator[str]:
    """The URL of the database that is configured, or of the one that runs by itself meanwhile, as it is."""
    stop_in_order()
    if settings.database_url:
        yield settings.database_url
    else:
        with running(settings.data_dir) as url:
            yield url


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The same, with the migrations that this program needs.

    Those of a database of its own are made here; those of a configured one by `hindsight migrate` only, because other
    processes may be using it. Raises ConfigurationError when some are missing.
    """
    from app.eventstore.migrate import migrate, missing_migrations  # Alembic takes a third of a process's start

    with server(settings) as url:
        if not settings.database_url:
            in_loop(lambda: migrate(url))
        elif missing := in_loop(lambda: missing_migrations(url)):
            raise ConfigurationError(f"the database lacks migrations ({', '.join(missing)}): run `hindsight migrate` first")
        yield url


def in_loop(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, run in an event loop of its own; an interrupt ends it, after its last words."""

    async def main() -> T:
        return await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def with_service(settings: Settings, work: Callable[[Service], Awaitable[T]]) -> T:
    """What `work` returns, given the service's parts; the projection engine does not run by itself meanwhile."""

    async def main(url: str) -> T:
        async with service(settings, url, run_projections=False) as parts:
            return await work(parts)

    settings = patient(settings)
    with database(settings) as url:
        return in_loop(lambda: main(url))


def patient(settings: Settings) -> Settings:
    """The settings for work that nobody's request waits for."""
    return settings.model_copy(update={"deadline_ms": max(settings.deadline_ms, COMMAND_DEADLINE_MS)})


def stop_in_order() -> None:
    """Let SIGTERM end the process as Ctrl-C does, so that a database of its own is stopped too.

    The handler is not Python's own: for that one, asyncio would put another, which cannot interrupt a blocking read.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def log_to_standard_error(level: str) -> None:
    """Send log lines of this level and above to standard error: standard output is for results."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each step that it takes, needed or not
    logging.basicConfig(level=number, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
