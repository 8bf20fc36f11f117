"""What requests that are meant to do harm cost the server, and how it answers others while they arrive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import count, cycle, islice, pairwise
from statistics import median, quantiles
from urllib.parse import urlsplit

from app.bench.attacks import HOSTILE, Address, Hostile, send
from app.bench.load import graphql, load
from app.bench.query import CONNECTIONS, USER
from app.bench.report import Line, Slices, at_most, in_turns, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, Served, served
from app.bench.usage import Taken, Usage
from app.settings import Settings

WORK_MS, MEMORY_MB = 50.0, 10.0
PATIENCE_MS = 2_000
"""Of the server that is measured: so long it waits for what does not come, or is not taken."""
TIMES = 5
"""How often each request is sent."""
ATTACK, ATTACKERS = 1_000, 100
WANTED = 0.2
LONGEST_MS = 250.0
SLICES = Slices(rounds=3, seconds=1.0)


async def measure(
    settings: Settings,
    scratch: Scratch,
    *,
    slices: Slices = SLICES,
    times: int = TIMES,
    events: int = EVENTS,
    attack: int = ATTACK,
    patience_ms: int = PATIENCE_MS,
) -> AsyncGenerator[Line]:
    """Two lines for each request: work and memory. Two for `user(id)` while a thousand of them arrive: rate and delay."""
    settings = settings.model_copy(update={"deadline_ms": patience_ms, "slow_client_ms": patience_ms})
    async with served(settings, scratch, events) as server:
        host, _, port = urlsplit(server.url).netloc.rpartition(":")
        address = (host, int(port))
        numbers = count()
        peace = partial(_reading, server, slices.seconds)
        await peace()  # what a process does only once is not measured
        for each in HOSTILE:
            taken = [await _taken(server.pid, address, each, number) for number in islice(numbers, times)]
            work, memory = median(usage.cpu for usage in taken), max(usage.grown for usage in taken)
            yield at_most(f"{each.name}: {each.end}, ms of work", work, WORK_MS, "what it may take")
            yield at_most(f"{each.name}, MB of memory at most", memory, MEMORY_MB, "what it may take")

        async def attacked() -> Reading:
            requests = list(zip(islice(cycle(HOSTILE), attack), numbers, strict=False))
            return await _while_attacked(peace, address, iter(requests))

        under_attack, in_peace = await in_turns(attacked, peace, rounds=slices.rounds)
        user = f"user(id), {CONNECTIONS} connections, while {attack:,} of these arrive over {ATTACKERS}"
        yield line(user, [each.rate for each in under_attack], [each.rate for each in in_peace], "the same in peace", WANTED)
        delay = max(each.delay for each in under_attack)
        yield at_most(f"{user}, ms, 99th percentile", delay, LONGEST_MS, "what a client may wait")


class Reading:
    """Answers that came over some connections, each with one request after the other."""

    def __init__(self, done: Sequence[Sequence[float]]) -> None:
        """`done` has the clock's readings of each connection: at its beginning, and after each answer."""
        self.done = done

    @property
    def rate(self) -> float:
        """Answers a second."""
        return CONNECTIONS * sum(len(each) - 1 for each in self.done) / sum(each[-1] - each[0] for each in self.done)

    @property
    def delay(self) -> float:
        """Milliseconds that 99 of 100 answers took at most."""
        return 1000 * quantiles((after - before for each in self.done for before, after in pairwise(each)), n=100)[98]


async def _taken(pid: int, address: Address, hostile: Hostile, number: int) -> Taken:
    usage = Usage(pid)
    await send(address, hostile, number)
    return usage.taken()


async def _reading(server: Served, seconds: float) -> Reading:
    user = graphql(server.url, USER)
    read = partial(load, server.url, lambda: user(id=random.choice(server.user_ids)), expected=b'"user":{"id":"', connections=1)
    return Reading(await asyncio.gather(*(read(seconds) for _ in range(CONNECTIONS))))


async def _while_attacked(
    reading: Callable[[], Awaitable[Reading]], address: Address, requests: Iterator[tuple[Hostile, int]]
) -> Reading:
    """What is read until the last of the requests has ended."""

    async def attacker() -> None:
        for hostile, number in requests:
            await send(address, hostile, number)

    readings: list[Reading] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            attackers = [tasks.create_task(attacker()) for _ in range(ATTACKERS)]
            while not all(each.done() for each in attackers):
                readings.append(await reading())
    except ExceptionGroup as wrong:
        raise wrong.exceptions[0] from None
    return Reading([done for each in readings for done in each.done])
