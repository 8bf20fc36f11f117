"""The one writer of a process: commands that wait at the same instant become one call, one round trip, one commit.

A lone command goes at once, and while its call is under way the next batch fills: the busier the process, the larger the
batches, with no timer. The calls of all processes take turns by a lock in the database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import asyncpg

from app.errors import BadInput, DatabaseUnavailable, HindsightError
from app.eventstore.append import Append, Appended
from app.eventstore.call import SQL, Answer, Encoded, call
from app.eventstore.codec import Codec
from app.eventstore.database import Database, outages_named

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

LARGEST_BATCH = 500
"""Commands in one call; by then the fixed cost of a call has become negligible."""

NOT_WRITTEN = "nothing was written"
PERHAPS_WRITTEN = "whether the command was carried out is not known, and sending it again with the same idempotency key is safe"


class Job(NamedTuple):
    """Commands that succeed or fail together, and where their caller waits."""

    commands: Sequence[Encoded]
    answer: asyncio.Future[list[Appended]]

    def finish(self, answers: Sequence[Answer]) -> None:
        """Wake the caller, unless it has gone, with the answers or with the first failure among them."""
        appended = [answer for answer in answers if isinstance(answer, Appended)]
        for answer in answers:
            if isinstance(answer, HindsightError):
                return self.fail(answer)
        if not self.answer.done():
            self.answer.set_result(appended)

    def fail(self, error: Exception) -> None:
        """Wake the caller, unless it has gone, with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Batcher:
    """Appends. An async context manager: leaving it carries out what waits, then closes the connection.

    `on_append` is told the position of the last event of each call, after the commit.
    """

    def __init__(self, database: Database, codec: Codec, on_append: Callable[[int], None] = lambda position: None) -> None:
        self._database = database
        self._codec = codec
        self._on_append = on_append
        self._waiting: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._statement: PreparedStatement[asyncpg.Record] | None = None

    async def __aenter__(self) -> Batcher:
        self._writer = asyncio.create_task(self._write_all(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()
        await self._writer
        if self._connection:
            await self._connection.close()

    async def append(self, append: Append) -> Appended:
        """Append what one command decided.

        Raises VersionConflict (of the stream, or of one relied on), AlreadyTaken, IdempotencyMismatch, BadInput for what
        PostgreSQL cannot store, and DatabaseUnavailable, which says whether anything may have been written.
        A caller that is cancelled while it waits does not stop the append.
        """
        return (await self.append_all([append]))[0]

    async def append_all(self, appends: Sequence[Append]) -> list[Appended]:
        """Append what several commands decided, all or nothing, in a transaction of their own when there are several.

        Raises what `append` raises; the error's attribute `index` says which command was the first to fail.
        """
        if self._stopping:
            raise DatabaseUnavailable(f"this process is stopping; {NOT_WRITTEN}")
        if not appends:
            return []
        job = Job([Encoded.by(self._codec, append) for append in appends], asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._wake.set()
        return await job.answer

    async def _write_all(self) -> None:
        while not self._stopping or self._waiting:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write(self._next_batch())

    def _next_batch(self) -> list[Job]:
        """The jobs that have waited longest and may share a call; a job of several commands goes alone."""
        jobs = [self._waiting.popleft()]
        if len(jobs[0].commands) > 1:
            return jobs
        while self._waiting and len(jobs) < LARGEST_BATCH and len(self._waiting[0].commands) == 1:
            jobs.append(self._waiting.popleft())
        now, later = apart([job.commands[0].append for job in jobs])
        self._waiting.extendleft(jobs[number] for number in reversed(later))
        return [jobs[number] for number in now]

    async def _write(self, jobs: Sequence[Job]) -> None:
        consequence = NOT_WRITTEN
        try:
            with outages_named():
                statement = await self._prepared()
                consequence = PERHAPS_WRITTEN
                answers = await self._carry_out(statement, jobs)
        except DatabaseUnavailable as error:
            self._disconnect()
            for job in jobs:
                job.fail(DatabaseUnavailable(f"{error.message}; {consequence}"))
        except Exception as error:
            await self._isolate(jobs, error)
        else:
            for job, answer in zip(jobs, answers, strict=True):
                job.finish(answer)
            self._tell(answers)

    async def _carry_out(self, statement: PreparedStatement[asyncpg.Record], jobs: Sequence[Job]) -> list[list[Answer]]:
        if len(jobs[0].commands) > 1:
            return [await self._all_or_nothing(statement, jobs[0].commands)]
        return [[answer] for answer in await call(statement, [job.commands[0] for job in jobs])]

    async def _all_or_nothing(self, statement: PreparedStatement[asyncpg.Record], commands: Sequence[Encoded]) -> list[Answer]:
        """The answers of all commands or, when something failed and nothing was written, the failure alone."""
        assert self._connection is not None
        answers: dict[int, Answer] = {}
        left = list(range(len(commands)))
        try:
            async with self._connection.transaction():
                while left:
                    now, later = apart([commands[number].append for number in left])
                    numbers, left = [left[place] for place in now], [left[place] for place in later]
                    for number, answer in zip(numbers, await call(statement, [commands[n] for n in numbers]), strict=True):
                        if isinstance(answer, HindsightError):
                            answer.index = number
                            raise answer
                        answers[number] = answer
        except HindsightError as failure:
            return [failure]
        return [answers[number] for number in sorted(answers)]

    async def _isolate(self, jobs: Sequence[Job], error: Exception) -> None:
        """After an error that undid the whole call: each job alone, so that only the one to blame gets the error."""
        if len(jobs) > 1:
            for job in jobs:
                await self._write([job])
        elif isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("22"):  # data exception
            jobs[0].finish([BadInput("input", f"cannot be stored: {error}")])
        else:
            jobs[0].fail(error)

    def _tell(self, answers: Iterable[Sequence[Answer]]) -> None:
        positions = [answer.position for each in answers for answer in each if isinstance(answer, Appended) and answer.events]
        if positions:
            self._on_append(max(positions))

    async def _prepared(self) -> PreparedStatement[asyncpg.Record]:
        """The statement on a connection that lives, which may be a new one. Raises DatabaseUnavailable."""
        if self._connection is None or self._connection.is_closed():
            self._statement = None
            self._connection = await self._database.connect()
        if self._statement is None:
            self._statement = await self._connection.prepare(SQL)
        return self._statement

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.terminate()
        self._connection = self._statement = None


def apart(appends: Sequence[Append]) -> tuple[list[int], list[int]]:
    """Splits commands, by number, into those that may share a call, because none touches what another writes, and the rest.

    What waits for the next call keeps its order, and so do commands that touch the same stream, claim or command id.
    """
    now: list[int] = []
    later: list[int] = []
    written: set[Any] = set()
    read: set[UUID] = set()
    for number, append in enumerate(appends):
        writes: set[Any] = {append.stream_id, append.command_id or append.stream_id}
        writes.update((append.tenant_id, claim) for claim in append.takes | append.releases)
        reads = append.relies_on.keys()
        collides = not (written.isdisjoint(writes) and read.isdisjoint(writes) and written.isdisjoint(reads))
        (later if collides else now).append(number)
        written |= writes
        read |= reads
    return now, later
