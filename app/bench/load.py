"""Load over HTTP/1.1: some kept-alive connections, each of which sends its next request when it has the answer.

Made to cost far less than the server that it drives: it parses of an answer what tells its end and whether it is right.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import HindsightError

LENGTH = b"content-length: "


class WrongAnswer(HindsightError):
    """The server answered, but not as it should."""


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: Callable[[], bytes], expected: bytes) -> None:
        self._request = request
        self._expected = expected
        self._until = 0.0
        self._done: list[float] = []
        self._received = b""
        self._whole = 0
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def ask(self, until: float, done: list[float]) -> None:
        """Send requests until that reading of the clock; `done` gets one for each answer."""
        self._until, self._done = until, done
        self._transport.write(self._request())
        await self._ended

    async def close(self) -> None:
        """Say goodbye, and wait until that is done."""
        self._transport.close()
        await self._lost

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._whole:
            self._whole = length(self._received)
        if self._whole and len(self._received) >= self._whole:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set_result(None)
        if not self._ended.done():
            self._ended.set_exception(WrongAnswer(f"the server closed the connection: {exc}"))

    def _answered(self) -> None:
        if not self._received.startswith(b"HTTP/1.1 200") or self._expected not in self._received:
            self._ended.set_exception(WrongAnswer(f"the server answered: {self._received[:1000].decode(errors='replace')}"))
            return
        self._received, self._whole = b"", 0
        self._done.append(time.perf_counter())
        if self._done[-1] < self._until:
            self._transport.write(self._request())
        else:
            self._ended.set_result(None)


def length(received: bytes) -> int:
    """Bytes of the whole answer; 0 while its head has not come in."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0
    start = received.find(LENGTH, 0, end) + len(LENGTH)
    return end + 4 + int(received[start : received.index(b"\r\n", start)])


async def load(url: str, request: Callable[[], bytes], seconds: float, *, expected: bytes, connections: int) -> list[float]:
    """Times answers. Raises WrongAnswer when one is not 200 or lacks the bytes `expected`."""
    loop = asyncio.get_running_loop()
    host, _, port = urlsplit(url).netloc.rpartition(":")
    clients = [(await loop.create_connection(lambda: _Client(request, expected), host, int(port)))[1] for _ in range(connections)]
    try:
        done = [time.perf_counter()]
        await asyncio.gather(*(client.ask(done[0] + seconds, done) for client in clients))
        return done
    finally:
        for client in clients:
            await client.close()


def graphql(url: str, query: str, token: str | None = None) -> Callable[..., bytes]:
    """What makes the request for a GraphQL document, given its variables."""
    bearing = f"authorization: Bearer {token}\r\n" if token else ""
    head = f"POST /graphql HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n{bearing}content-type: application/json\r\n".encode()
    encode = msgspec.json.Encoder().encode

    def request(**variables: Any) -> bytes:
        body = encode({"query": query, "variables": variables})
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)

    return request
