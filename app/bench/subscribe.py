"""Subscribers over WebSockets who follow all that is appended: each gets everything in order; how soon, and at what price."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import msgspec
from uuid_utils.compat import uuid7

from app.bench.append import creation
from app.bench.load import WrongAnswer
from app.bench.report import Line, at_most, line
from app.bench.scratch import Scratch
from app.bench.served import started
from app.bench.usage import Usage, peak
from app.eventstore.batcher import Batcher
from app.settings import Settings
from app.wiring import service

SUBSCRIBERS, EVENTS, EVENTS_A_SECOND = 500, 2_000, 200
WANTED = 0.95
DELAY_MS = 250.0
MEMORY_MB = 256.0
PATIENCE = 60.0
"""Seconds after which something must have come, or is missing."""

FOLLOW = "subscription ($after: Position) { events(after: $after) { position } }"
TOLD = re.compile(rb'"events":\{"position":(\d+)\}')
"""What is parsed of an answer."""
HANDSHAKE = """GET /graphql HTTP/1.1
host: {host}
connection: upgrade
upgrade: websocket
sec-websocket-version: 13
sec-websocket-key: aGluZHNpZ2h0IGJlbmNoIQ==
sec-websocket-protocol: graphql-transport-ws

"""


async def measure(
    settings: Settings,
    scratch: Scratch,
    *,
    subscribers: int = SUBSCRIBERS,
    events: int = EVENTS,
    per_second: int = EVENTS_A_SECOND,
) -> AsyncGenerator[Line]:
    """A line for the rate of messages, for their delay at the median and at the 99th percentile, for processor and for memory."""
    url = await scratch.fresh()
    async with service(settings, url, run_projections=False) as parts:
        with started(settings, url) as (address, pid):
            following = [await _follow(address, await parts.store.head(), events) for _ in range(subscribers)]
            usage, began = Usage(pid), time.perf_counter()
            appended = await _append(parts.batcher, events, per_second)
            async with asyncio.timeout(PATIENCE):
                received = await asyncio.gather(*(each.done for each in following))
            seconds, taken, memory = time.perf_counter() - began, usage.taken(), peak(pid)
            for each in following:
                each.close()
    delays = [1000 * (at - appended[position]) for each in received for position, at in each]
    work = f"{subscribers} subscribers, {per_second} events/s"
    yield line(f"{work}, messages/s", [subscribers * events / seconds], [subscribers * per_second], "each event to each", WANTED)
    for name, delay in (("median", median(delays)), ("99th percentile", quantiles(delays, n=100)[98])):
        yield at_most(f"{work}, append until received, ms, {name}", delay, DELAY_MS, "what a subscriber may wait")
    yield at_most(f"{work}, share of a core", taken.cpu / 1000 / seconds, 1.0, "one core")
    yield at_most(f"{work}, MB that the server has", memory, MEMORY_MB, "what it may have")


async def _append(batcher: Batcher, events: int, per_second: int) -> Mapping[int, float]:
    """When the append of each position was begun, evenly spread."""
    clock, tenant_id = time.perf_counter, uuid7()
    appended: dict[int, float] = {}

    async def append(at: float) -> None:
        await asyncio.sleep(at - clock())
        began = clock()
        appended[(await batcher.append(creation(tenant_id, uuid7()))).position] = began

    first = clock()
    await asyncio.gather(*(append(first + number / per_second) for number in range(events)))
    return appended


async def _follow(address: str, after: int, events: int) -> Subscriber:
    """Somebody who follows so many events after a position."""
    host, _, port = urlsplit(address).netloc.rpartition(":")
    loop = asyncio.get_running_loop()
    _, subscriber = await loop.create_connection(lambda: Subscriber(host, after, events), host, int(port))
    async with asyncio.timeout(PATIENCE):
        await subscriber.begun
    return subscriber


class Subscriber(asyncio.Protocol):
    """One WebSocket, of whose frames it is read only which event each tells."""

    def __init__(self, host: str, after: int, events: int) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        """Done when the subscription is sent."""
        self.done: asyncio.Future[list[tuple[int, float]]] = loop.create_future()
        """Done when everything has come: the first position of those that came together, which waited the longest, and when."""
        self._received: list[tuple[int, float]] = []
        self._host = host
        self._after = self._last = after
        self._until = after + events
        self._heard = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(HANDSHAKE.format(host=self._host).replace("\n", "\r\n").encode())

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if self.begun.done():
            self._told()
        elif self._heard.startswith(b"HTTP/1.1 101") and self._heard.endswith(b"\r\n\r\n"):
            self._transport.write(_frame({"type": "connection_init"}))
        elif b'"connection_ack"' in self._heard:
            payload = {"query": FOLLOW, "variables": {"after": self._after}}
            self._transport.write(_frame({"id": "1", "type": "subscribe", "payload": payload}))
            self._heard = b""
            self.begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server ended a subscriber's connection: {exc or self._heard[-200:]!r}")

    def close(self) -> None:
        self._transport.abort()

    def _told(self) -> None:
        now = time.perf_counter()
        matches = list(TOLD.finditer(self._heard))
        if not matches:
            return
        positions = [int(match[1]) for match in matches]
        self._heard = self._heard[matches[-1].end() :]
        first, self._last = self._last + 1, self._last + len(positions)
        if positions != list(range(first, self._last + 1)):
            self._fail(f"after event {first - 1} a subscriber was told {positions}")
        self._received.append((first, now))
        if self._last == self._until and not self.done.done():
            self.done.set_result(self._received)

    def _fail(self, why: str) -> None:
        awaited = self.done if self.begun.done() else self.begun
        if not awaited.done():
            awaited.set_exception(WrongAnswer(why))


def _frame(message: dict[str, Any]) -> bytes:
    """A text message as a client sends it, masked by zeros: RFC 6455, section 5.2."""
    text = msgspec.json.encode(message)
    assert len(text) < 1 << 16
    return b"\x81\xfe%b\0\0\0\0%b" % (len(text).to_bytes(2), text)
