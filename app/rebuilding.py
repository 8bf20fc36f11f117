"""Where the passes of a rebuild run: in this process, or each in one of its own.

A process for a pass is `python -m app.rebuilding`. It takes its work as one line of JSON on standard input, which stays open
for as long as somebody wants the result: when the one who asked dies, the pass ends too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from pydantic import ByteSize, TypeAdapter, ValidationError

from app.errors import BadInput, DatabaseUnavailable, PassDied, RebuildStopped, RebuildUnderWay, UnreadableEvent
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.process import COMMAND_DEADLINE_MS, in_loop
from app.settings import PREFIX
from app.wiring import AGGREGATES
from projections import PROJECTIONS
from projections.engine import FAR, ProjectionEngine
from projections.generations import Generation
from projections.rebuild import BuildPasses, Pass, passes_by, rebuild
from projections.rebuilds import Build, check_free, unfinished
from projections.renewing import renew
from projections.shares import build_share, most_resident, resident

EXPECTED = {error.__name__: error for error in (DatabaseUnavailable, RebuildStopped, UnreadableEvent)}
"""The errors that a pass is said to raise, by their names."""

MEMORY = 1 << 30
"""Bytes that a rebuild may take unless told."""

LOOK = 0.05
"""Seconds between two looks whether a rebuild has begun."""


def bytes_of(size: str) -> int:
    """The number of bytes that a text such as 512MiB means. Raises BadInput."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(size))
    except ValidationError:
        raise BadInput("memory", f"needs a size such as 512MiB or 2GiB; {size!r} is none") from None


class Work(msgspec.Struct, frozen=True):
    """A pass, as it is told to another process."""

    url: str
    memory: int
    share: int
    builds: tuple[tuple[str, int, int, int], ...]
    """Of each: projection, generation, target, shares."""


class Failure(msgspec.Struct, frozen=True):
    """Why a process could not do its pass."""

    kind: str
    message: str


class Ended(msgspec.Struct, frozen=True):
    """How a process ended its pass."""

    most_resident: int
    """Bytes of memory that it had at most."""
    failure: Failure | None = None


def in_this_process(store: EventStore, memory: int) -> BuildPasses:
    """Passes one after the other, within so many bytes of memory."""

    async def build(passes: Sequence[Pass]) -> None:
        for each in passes:
            await build_share(store, each.builds, each.share, memory)

    return build


async def catch_up(store: EventStore, engine: ProjectionEngine, *, far: int = FAR) -> None:
    """Bring all read tables to the present end of the log: by a rebuild where that has less to write, as after an import.

    That is where a table lacks more than `far` events, and more than it has. Raises what `rebuild` and the engine's own
    `catch_up` raise.
    """
    await engine.prepare()
    own = {status.name: status for status in await engine.status()}  # the newest of each, where there are two
    if names := [name for name, status in own.items() if status.lag > max(far, status.checkpoint)]:
        with suppress(RebuildUnderWay):
            await rebuild(store, [engine.projection(name) for name in names], in_this_process(store, MEMORY))
        await engine.prepare()
    await engine.catch_up()


async def renew_elsewhere(store: EventStore, engine: ProjectionEngine, url: str) -> None:
    """Build what another release folded anew, its passes in a process of its own that ends with this one."""
    await renew(store, engine, in_processes(url, 1, MEMORY))


def in_processes(url: str, workers: int, memory: int, on_end: Callable[[int], None] = lambda _: None) -> BuildPasses:
    """Passes in `workers` processes at a time, which have so many bytes of memory together with this one.

    `on_end` is told how many bytes each of them had at most.
    """

    async def build(passes: Sequence[Pass]) -> None:
        free, each_has = asyncio.Semaphore(workers), max(memory - resident(), 0) // workers

        async def one(each: Pass) -> None:
            async with free:
                builds = tuple((*build.id, build.target, build.shares) for build in each.builds)
                on_end(await _elsewhere(Work(url, each_has, each.share, builds)))

        try:
            async with asyncio.TaskGroup() as tasks:
                for each in passes:
                    tasks.create_task(one(each))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    return build


async def begin_elsewhere(database: Database, url: str, name: str, workers: int, allow_differences: bool) -> None:
    """Begin a rebuild in a process that nobody here waits for: it goes on when this process ends.

    Raises RebuildUnderWay, and RebuildStopped when it cannot begin.
    """
    await check_free(database, name)
    command = [sys.executable, "-m", "app.cli", "projections", "rebuild", name, "--workers", str(workers)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(["--allow-differences"] if allow_differences else []),
        stdin=DEVNULL,
        stdout=DEVNULL,
        env={**os.environ, f"{PREFIX}DATABASE_URL": url},
        start_new_session=True,
    )
    code = None
    while code is None and not await unfinished(database, name):
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                code = await process.wait()
    if code:
        raise RebuildStopped(f"the rebuild ended with code {code} before it began; the server's log says why")


async def _elsewhere(work: Work) -> int:
    """The most memory that it took, in bytes."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "app.rebuilding", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(work) + b"\n")
        answer = await process.stdout.read()
        code = await process.wait()
    finally:
        await _end(process)
    if not answer:
        raise PassDied(code)
    ended = msgspec.json.decode(answer, type=Ended)
    if ended.failure:
        raise _error(ended.failure)
    return ended.most_resident


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _error(failure: Failure) -> Exception:
    if failure.kind in EXPECTED:
        return EXPECTED[failure.kind](failure.message)
    return RuntimeError(f"{failure.kind}: {failure.message}")


async def _work() -> Failure | None:
    """Do the pass that standard input tells of, unless that ends first."""
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    building = asyncio.create_task(_build(msgspec.json.decode(await told.readline(), type=Work)))
    nobody_waits = asyncio.create_task(told.read())
    await asyncio.wait([building, nobody_waits], return_when=asyncio.FIRST_COMPLETED)
    nobody_waits.cancel()
    if not building.done():
        building.cancel()
    try:
        await building
    except asyncio.CancelledError:
        return Failure("RebuildStopped", "nobody waits for the rebuild any more")
    except Exception as error:
        return Failure("DatabaseUnavailable" if passes_by(error) else type(error).__name__, str(error))
    return None


async def _build(work: Work) -> None:
    database = await Database.open(work.url, pool_size=3, timeout=COMMAND_DEADLINE_MS / 1000)
    by_name = {projection.name: projection for projection in PROJECTIONS}
    builds = [Build(Generation(by_name[name], number), target, shares) for name, number, target, shares in work.builds]
    try:
        await build_share(EventStore(database, Codec(AGGREGATES)), builds, work.share, work.memory)
    finally:
        await database.close()


def main() -> None:
    """The entry point of a process for a pass."""
    failure = in_loop(_work)
    sys.stdout.buffer.write(msgspec.json.encode(Ended(most_resident(), failure)))


if __name__ == "__main__":
    main()
