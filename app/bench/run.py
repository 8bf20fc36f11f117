"""Runs benchmarks in databases of their own, which are dropped afterwards."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from app.bench import append, history, hostile, imports, login, mutate, query, rebuild, subscribe
from app.bench.report import Line
from app.bench.scratch import Scratch, scratch
from app.process import in_loop, patient, server
from app.settings import Settings


def measure(settings: Settings, works: Sequence[str], file: Path | None, events: int) -> list[Line]:
    """The lines of some benchmarks, by name; each is told on standard error as soon as it is measured.

    `file` holds the events to import; made-up ones without. `events` is how many a rebuild reads.
    """
    with server(settings) as url:
        return in_loop(lambda: _measure(patient(settings), url, works, file, events))


async def _measure(settings: Settings, url: str, works: Sequence[str], file: Path | None, events: int) -> list[Line]:
    done: list[Line] = []
    async with scratch(url) as databases:
        for work in works:
            print(f"measuring {work} …", file=sys.stderr)
            async with aclosing(_lines(work, settings, databases, file, events)) as lines:
                async for line in lines:
                    print(f"  {line.work}: {line.measured:,}, {line.ratio} of {line.limit_is}", file=sys.stderr)
                    done.append(line)
    return done


def _lines(work: str, settings: Settings, databases: Scratch, file: Path | None, events: int) -> AsyncGenerator[Line]:
    match work:
        case "append":
            return append.measure(settings, databases)
        case "import":
            return imports.measure(settings, databases, file)
        case "query":
            return query.measure(settings, databases)
        case "rebuild":
            return rebuild.measure(settings, databases, events)
        case "history":
            return history.measure(settings, databases, events)
        case "mutate":
            return mutate.measure(settings, databases)
        case "subscribe":
            return subscribe.measure(settings, databases)
        case "hostile":
            return hostile.measure(settings, databases)
        case "login":
            return login.measure(settings, databases)
        case _:
            raise ValueError(f"no benchmark is called {work!r}")
