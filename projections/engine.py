"""Keeps the read tables current: a worker for each projection, woken when the log grows.

Any number of processes may run an engine on one database. Each projection is advanced by one of them at a time; which
one does not matter.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import msgspec

from app.errors import DatabaseUnavailable, ProjectionBehind, RebuildUnderWay
from app.eventstore.bell import Bell, rung_within
from app.eventstore.database import outages_named
from app.eventstore.notify import CHANNEL
from app.eventstore.store import EventStore
from app.eventstore.tail import Tail
from projections.fingerprint import fingerprint
from projections.generations import Generation, all_builds, live_build, prepare, prepared
from projections.leaping import Leaps
from projections.projection import Projection, named
from projections.rebuilds import alone, begin
from projections.retrying import Retrying
from projections.worker import Worker

LINGER = 0.005
"""Seconds between two pages of a projection that is current: under load the next page then holds all events of that time."""

POLL = 1.0
"""Seconds after which a process looks for events that nobody told it of: once for all of its workers."""

FAR = 10_000
"""Events that a generation lacks before a rebuild makes it faster than the engine would, page by page."""

LOOK = 0.02
"""Seconds between two looks at the checkpoints of other processes, while somebody waits for one."""

INFRASTRUCTURE = (
    DatabaseUnavailable,
    asyncpg.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
)

STATUS = """
    SELECT projection, generation, live, checkpoint, status, error,
        coalesce((
            SELECT extract(epoch FROM clock_timestamp() - next.recorded_at) FROM es.events next
            WHERE next.position = current.checkpoint + 1
        ), 0)::float8 AS lag_seconds,
        parked,
        (SELECT coalesce(max(position), 0) FROM es.events) AS head
    FROM es.generations current
    WHERE generation >= (SELECT generation FROM es.generations WHERE live AND projection = current.projection)
    ORDER BY projection, generation
"""

LIVE = "SELECT generation FROM es.generations WHERE projection = $1 AND live AND fingerprint = $2"

BUILT = """
    SELECT EXISTS (
        SELECT FROM es.generations own JOIN es.generations shown USING (projection)
        WHERE projection = $1 AND shown.live AND own.fingerprint = $2
            AND own.generation >= shown.generation AND own.status <> 'rebuilding'
    )
"""

log = logging.getLogger(__name__)


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one generation of a projection stands."""

    name: str
    generation: int
    live: bool
    checkpoint: int
    lag: int
    """Events of the log that it has not seen yet."""
    lag_seconds: float
    """For how long the first of those has been in the log."""
    status: str
    """`building` before its first events, `rebuilding` while a rebuild reads the log, `running`, `paused` by an operator, or
    `failed`; then `error` says why, and it tries again by itself."""
    error: str | None
    parked: int
    """Keys whose rows are incomplete, because an event could not be folded."""


class ProjectionEngine:
    """Advances projections, and waits for them."""

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[Projection[Any]],
        *,
        batch_size: int = 1000,
        far: int = FAR,
        poll: float = POLL,
    ) -> None:
        self._store = store
        self._database = store.database
        self._projections = projections
        self.retrying = Retrying(store, projections)
        self._batch_size = batch_size
        self._far = far
        self._poll = poll
        self.tail = Tail(store, batch_size)
        self._leaps = Leaps(store, batch_size)
        self._workers: dict[str, Worker] = {}
        self._fingerprints: dict[str, str] = {}
        self._reached = {projection.name: 0 for projection in projections}
        self.grown = Bell()
        self._advanced = Bell()
        self._looked_at = 0.0

    def unseen(self) -> list[str]:
        """The projections of which queries see what another release folded: the generation by this one's code is not live."""
        return [name for name, worker in self._workers.items() if not worker.live]

    def projection(self, name: str) -> Projection[Any]:
        """The projection with that name. Raises BadInput when there is none."""
        return named(self._projections, name)

    def views(self, names: Collection[str]) -> list[str]:
        """Through which queries see these projections."""
        return [view.fullname for projection in self._projections if projection.name in names for view in projection.tables]

    async def prepare(self) -> None:
        """Find the generations that this process keeps current, and make those that are missing. Raises DatabaseUnavailable.

        One that has far to go beside what another release folded is left to a rebuild: see `left_to_a_rebuild`.
        """
        await self._leaps.look()  # what is far behind need not take a page first to find that out
        for projection in self._projections:
            self._fingerprints[projection.name] = fingerprint(projection, self._store.codec)
            await self._leave_to_a_rebuild(projection, self._fingerprints[projection.name])
            async with self._database.connection() as connection:
                generation = await prepare(connection, projection, self._fingerprints[projection.name])
            await self._take_up(generation)

    async def left_to_a_rebuild(self) -> list[str]:
        """The projections of which queries see what another release folded, and that no worker advances, but a rebuild builds."""
        return [name for name in self.unseen() if not await self._database.fetchval(BUILT, name, self._fingerprints[name])]

    async def advance(self, name: str) -> int:
        """Apply the next page of events to a projection; by how many positions it moved on. Raises DatabaseUnavailable."""
        worker = self._workers[name]
        advanced = await worker.advance()
        if not worker.live and not await self._follow(worker.generation) and advanced < self._batch_size:
            await worker.go_live()
        self._note(worker)
        return advanced

    async def catch_up(self) -> None:
        """Advance every projection to the present end of the log. Raises what `advance` raises, once the others are there."""
        head = await self._store.head()
        behind, failures = list(self._workers), list[BaseException]()
        while behind:
            # In step with each other, so that one reading of a page serves all.
            advanced = await asyncio.gather(*map(self.advance, behind), return_exceptions=True)
            failed = {name: end for name, end in zip(behind, advanced, strict=True) if isinstance(end, BaseException)}
            failures += failed.values()
            behind = [name for name in behind if name not in failed and self._workers[name].checkpoint < head]
            if behind and not any(advanced):
                await asyncio.sleep(LINGER)  # another process is at it
        for failure in failures:
            raise failure

    async def run(self) -> None:
        """Keep every projection current until cancelled, whatever fails meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.listen(), name="listen")
            tasks.create_task(self._look_again(), name="look again")
            for name in self._workers:
                tasks.create_task(self._keep_current(name), name=f"projection {name}")

    def wake(self) -> None:
        """The log has grown."""
        self.grown.ring()

    def reached(self, names: Collection[str]) -> int:
        """A position that all of these projections, as queries see them, have reached; they may be further by now."""
        return min(map(self._reached.__getitem__, names), default=0)

    async def wait_for(self, names: Collection[str], position: int, timeout: float) -> None:  # noqa: ASYNC109 - part of the answer
        """Return when queries of these projections see the event at that position.

        Raises ProjectionBehind when they do not within so many seconds, and DatabaseUnavailable.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            advanced = self._advanced.listen()
            behind = [name for name in names if self._reached[name] < position]
            if not behind:
                return
            if clock() >= deadline:
                raise ProjectionBehind(behind[0], position, self._reached[behind[0]])
            if clock() >= self._looked_at + LOOK:
                self._looked_at = clock()  # one look is enough for all who wait
                await self._look()
            else:
                await rung_within(advanced, min(LOOK, deadline - clock()))

    async def status(self) -> list[ProjectionStatus]:
        """The live generation of each projection, and newer ones that are being built beside it. Raises DatabaseUnavailable."""
        return [
            ProjectionStatus(
                name=row["projection"],
                generation=row["generation"],
                live=row["live"],
                checkpoint=row["checkpoint"],
                lag=row["head"] - row["checkpoint"],
                lag_seconds=row["lag_seconds"],
                status=row["status"],
                error=row["error"],
                parked=row["parked"],
            )
            for row in await self._database.fetch(STATUS)
        ]

    async def _leave_to_a_rebuild(self, projection: Projection[Any], own: str) -> None:
        """Begin the rebuild of a generation that is missing and has far to go; whoever asks for it then goes on with it."""
        live = live_build(await all_builds(self._database, projection))
        if live is None or await prepared(self._database, projection, own) is not None:
            return
        head = await self._store.head()
        if head <= self._far:
            return
        # Another release may be at a rebuild of it, which is left to it: then the engine builds its own page by page.
        with suppress(RebuildUnderWay):
            async with alone(self._database, [projection.name]) as connection:
                await begin(connection, projection, own, head, shares=1)

    async def _follow(self, generation: Generation) -> bool:
        """Take up the live generation if it is by the same fold, as after a rebuild or a rollback; whether it is."""
        name = generation.projection.name
        live = await self._database.fetchval(LIVE, name, self._fingerprints[name])
        if live is not None and live != generation.number:
            await self._take_up(Generation(generation.projection, live))
            self.wake()  # what this process has not seen of it is not told again
        return live is not None

    async def _take_up(self, generation: Generation) -> None:
        worker = self._workers[generation.projection.name] = Worker(self._database, self.tail, self._leaps, generation)
        await worker.look()
        self._note(worker)

    def _note(self, worker: Worker) -> None:
        name = worker.generation.projection.name
        if worker.live and worker.checkpoint > self._reached[name]:
            self._reached[name] = worker.checkpoint
            self._advanced.ring()

    async def _look(self) -> None:
        """Learn how far other processes have brought the live generations."""
        rows = await self._database.fetch("SELECT projection, checkpoint FROM es.generations WHERE live")
        reached = {row["projection"]: row["checkpoint"] for row in rows}
        for name in self._reached:
            self._reached[name] = max(self._reached[name], reached.get(name, 0))
        self._advanced.ring()

    async def _keep_current(self, name: str) -> None:
        pauses = growing_pauses()
        while True:
            grown = self.grown.listen()
            try:
                advanced = await self.advance(name)
            except Exception as error:
                await self._failed(name, error)
                await asyncio.sleep(next(pauses))
                continue
            pauses = growing_pauses()
            if advanced < self._batch_size:
                if advanced:
                    await asyncio.sleep(LINGER)
                await grown.wait()

    async def _failed(self, name: str, error: Exception) -> None:
        if isinstance(error, INFRASTRUCTURE):
            log.warning("projection %s pauses: %s", name, error)
            return
        log.error("projection %s stands still: %s", name, error, exc_info=error)
        try:
            await self._workers[name].fail(f"{type(error).__name__}: {error}")
        except DatabaseUnavailable as outage:
            log.warning("projection %s pauses: %s", name, outage)

    async def _look_again(self) -> None:
        """Wake the workers when they have something to do that nobody told them of."""
        while True:
            await asyncio.sleep(self._poll)
            try:
                head = await self._store.head()
            except Exception as error:
                log.warning("projections poll again: %s", error, exc_info=not isinstance(error, INFRASTRUCTURE))
                continue
            if any(worker.checkpoint < head or not worker.live for worker in self._workers.values()):
                self.wake()

    async def listen(self) -> None:
        """Wake whoever follows the log when another process says that it has grown, until cancelled; `run` does it too."""
        pauses = growing_pauses()
        while True:
            try:
                async with self._notifications() as ended:
                    pauses = growing_pauses()
                    await ended.wait()
            except DatabaseUnavailable as error:
                log.warning("projections poll: %s", error)
            await asyncio.sleep(next(pauses))

    @asynccontextmanager
    async def _notifications(self) -> AsyncIterator[asyncio.Event]:
        """Wakes for each notification in the block; the event is set when the connection ends."""
        ended = asyncio.Event()
        connection = await self._database.connect()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            with outages_named():
                await connection.add_listener(CHANNEL, lambda *_: self.wake())
            self.wake()  # for what was told before
            yield ended
        finally:
            connection.terminate()


def growing_pauses(first: float = 0.1, longest: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each new attempt, without end: doubling, and spread so that processes do not come all at once."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(pause * 2, longest)
