"""Requests that are meant to do harm, and how each must end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from app.bench.load import WrongAnswer, length

PATIENCE = 60.0
"""Seconds after which the server has not ended what it should."""

NARROW = 4096
"""Bytes that the network holds for a slow reader, as far as it has a say in it."""
SIP, PAUSE = 8, 0.1
"""Bytes that it takes at once, and seconds in between."""

Address = tuple[str, int]


class Hostile(NamedTuple):
    """A request that is meant to do harm, and how it must end."""

    name: str
    end: str
    """In words."""
    request: Callable[[int], bytes]
    """What is sent; of each number another, so that the server knows none from before."""
    answer: tuple[bytes, bytes] | None
    """What the answer begins with, and what it holds; None when it is not taken and must be cut off."""


def _posted(number: int, body: bytes, announced: int | None = None) -> bytes:
    lines = (
        "POST /graphql HTTP/1.1",
        "host: hindsight",
        f"x-request-id: {number}",
        "content-type: application/json",
        "accept: application/graphql-response+json",
        f"content-length: {announced or len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def _asking(document: Callable[[int], str]) -> Callable[[int], bytes]:
    return lambda number: _posted(number, msgspec.json.encode({"query": document(number)}))


def _refused(name: str, status: int, code: str, request: Callable[[int], bytes]) -> Hostile:
    return Hostile(name, f"{status} {code}", request, (b"HTTP/1.1 %d " % status, b'"code":"%b"' % code.encode()))


def bomb(number: int) -> str:
    """Thirty fragments, each of which spreads the next one twice: followed naively, a thousand million fields."""
    chain = "".join(f"fragment F{n} on Query{{...F{n + 1} ...F{n + 1}}}" for n in range(30))
    return f"{{...F0}}{chain}fragment F30 on Query{{a{number}:head}}"


def aliases(number: int) -> str:
    """A thousand of one field."""
    return "{" + " ".join(f"a{number}_{n}:head" for n in range(1_000)) + "}"


def long(number: int) -> str:
    """A page that is longer than what the network holds for a client that takes nothing: all that it may say, many times."""
    fields = ("data", "id", "streamId", "occurredAt", "recordedAt", "type")
    return f"{{a{number}:events(first:100){{nodes{{{' '.join(f'{each}{n}:{each}' for n in range(15) for each in fields)}}}}}}}"


def variables(number: int) -> bytes:
    """Ten thousand."""
    return _posted(number, msgspec.json.encode({"query": "{head}", "variables": {f"v{number}_{n}": n for n in range(10_000)}}))


HOSTILE = (
    _refused("a fragment bomb of depth 30", 400, "COST_LIMIT_EXCEEDED", _asking(bomb)),
    _refused("1,000 aliases", 400, "GRAPHQL_PARSE_FAILED", _asking(aliases)),
    _refused("100,000 nested brackets", 400, "BAD_REQUEST", lambda number: _posted(number, b"[" * 100_000 + b"]" * 100_000)),
    _refused("a body of 10 MB", 413, "BAD_REQUEST", lambda number: _posted(number, b" " * 10_000_000)),
    _refused("10,000 variables", 400, "BAD_REQUEST", variables),
    _refused("half a body", 408, "DEADLINE_EXCEEDED", lambda number: _posted(number, b'{"query":', 1_000)),
    Hostile("half a head", "408", lambda _number: b"POST /graphql HTTP/1.1\r\nhost: hin", (b"HTTP/1.1 408 ", b"\r\n\r\n")),
    Hostile("a slow reader", "cut off", _asking(long), None),
    Hostile("a slow reader of a file", "cut off", lambda _number: b"GET /static/vendor/graphiql.js HTTP/1.1\r\n\r\n" * 100, None),
)


async def send(address: Address, hostile: Hostile, number: int) -> None:
    """Send one request and wait for its end. Raises WrongAnswer when that is another than it must be."""
    try:
        async with asyncio.timeout(PATIENCE):
            await (
                _taken_slowly(address, hostile.request(number)) if hostile.answer is None else _answered(address, hostile, number)
            )
    except TimeoutError:
        raise WrongAnswer(f"{hostile.name} had not ended after {PATIENCE:g} s") from None


async def _answered(address: Address, hostile: Hostile, number: int) -> None:
    assert hostile.answer
    begins, holds = hostile.answer
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(hostile.request(number))
        answer = await reader.readuntil(b"\r\n\r\n")
        answer += await reader.readexactly(length(answer) - len(answer))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if not answer.startswith(begins) or holds not in answer:
        raise WrongAnswer(f"{hostile.name} was answered: {answer[:1000].decode(errors='replace')}")


async def _taken_slowly(address: Address, request: bytes) -> None:
    """Takes some bytes of the answer now and then, until the server has had enough of it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
        await loop.sock_sendall(connection, request)
        with suppress(ConnectionResetError):
            while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                if not await loop.sock_recv(connection, SIP):
                    raise WrongAnswer("a slow reader got all that it asked for")
                await asyncio.sleep(PAUSE)
