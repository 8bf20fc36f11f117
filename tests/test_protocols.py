"""Connections end when their clients do not do their part, over real sockets and before an application as simple as can be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.types import Receive, Scope, Send

from app import protocols
from app.protocols import LARGEST_HEAD, MOST_HEADERS, MOST_WAITING, OneWrite
from tests.api.conftest import PATIENT, live
from tests.conftest import PATIENCE

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nhost: hindsight\r\n\r\n"
ENDLESS = REQUEST.replace(b"/", b"/endless", 1)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
LATE = b"408 Request Timeout"
TOO_LARGE = b"431 Request Header Fields Too Large"
UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: hindsight\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: aGluZHNpZ2h0IHRlc3RzIQ==\r\n\r\n"
)
PINGS = (b"\x89\xfd\0\0\0\0" + bytes(125)) * 100
PONGS = (b"\x8a\x7d" + bytes(125)) * 100
TEXT = b"\x81\x82\0\0\0\0hi"
MOMENT = 0.05
BOUND = 16 << 20
"""Bytes; the system's own buffers are most of it."""


class Application:
    """Answers at once, at /whole in one message; at /endless without end until it hears that the client is gone."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = asyncio.Event()
        self.heard = asyncio.Event()
        """A message over a WebSocket."""
        self.connections: set[Any] = set()
        """Those of its server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._converse(receive, send)
            return
        if scope["path"] == "/whole":
            assert "hindsight.whole" in scope["extensions"]
            headers = [(b"content-length", b"2"), (b"x-said", scope["query_string"].replace(b"+", b"\r\n"))]
            await send({"type": "http.response.start", "status": 200, "headers": headers, "body": b"hi"})
            return
        endless = scope["path"] == "/endless"
        headers = [] if endless else [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not endless:
            await send({"type": "http.response.body", "body": b"hi"})
            return
        watching = asyncio.create_task(self._watch(receive))
        while not self.gone.is_set():
            self.sent += 1 << 16
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            await asyncio.sleep(0)
        await watching

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def _converse(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            self.heard.set()
            if message.get("text") == "by":
                await send({"type": "websocket.send", "texts": [bytes(BOUND)]})
                return


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> bytes:
        """The next one, without its date and server."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith((b"date:", b"server:"))]
        return b"\r\n".join(lines) + await self._reader.readexactly(2 if b"length: 2" in head else 0)

    async def taken(self, length: int) -> bytes:
        """So many bytes of what comes next."""
        return await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that comes before the server ends the connection."""
        try:
            return await self._reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[tuple[Application, Any]]:
    """An application behind a server with these limits, and what connects to it."""
    app = Application()
    async with asyncio.timeout(PATIENCE), live(app, msgspec.structs.replace(PATIENT, **limits)) as server:
        app.connections = server.server_state.connections
        host, _, port = server.address.removeprefix("http://").rpartition(":")
        clients: list[asyncio.StreamWriter] = []

        async def connect() -> Client:
            network = socket.socket()
            network.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)  # so that little is taken unasked
            network.connect((host, int(port)))
            reader, writer = await asyncio.open_connection(sock=network)
            clients.append(writer)
            return Client(reader, writer)

        try:
            yield app, connect
        finally:
            for each in clients:
                each.transport.abort()


def assert_refused(answer: bytes, status: bytes) -> None:
    """It is this one and nothing else, and protects who looks at it as every other does."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert (first, body) == (b"HTTP/1.1 " + status, status)
    assert {b"connection: close", b"content-length: %d" % len(status), b"x-content-type-options: nosniff"} <= {*lines}


async def test_who_asks_for_nothing_is_not_waited_for() -> None:
    async with served(head=MOMENT) as (_, connect):
        assert await (await connect()).rest() == b""


async def test_half_a_head_is_waited_for_for_a_while() -> None:
    async with served(head=MOMENT) as (_, connect):
        client = await connect()
        await client.say(REQUEST + REQUEST[:10])
        assert await client.answer() == ANSWER
        assert_refused(await client.rest(), LATE)


async def test_a_head_in_pieces_is_as_good_as_a_whole_one() -> None:
    async with served() as (_, connect):
        client = await connect()
        for place in range(len(REQUEST)):
            await client.say(REQUEST[place : place + 1])
        assert await client.answer() == ANSWER


async def test_a_head_without_end_is_refused() -> None:
    async with served() as (_, connect):
        client = await connect()
        await client.say(b"GET / HTTP/1.1\r\nhost: ")
        for _ in range(LARGEST_HEAD // 1000 + 1):
            await client.say(b"x" * 1000)
        assert_refused(await client.rest(), TOO_LARGE)


async def test_headers_without_end_behind_a_body_are_not_kept() -> None:
    async with served() as (_, connect):
        client = await connect()
        await client.say(b"POST / HTTP/1.1\r\nhost: hindsight\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        assert await client.answer() == ANSWER
        await client.say(b"x: y\r\n" * (MOST_HEADERS + 1))
        assert_refused(await client.rest(), TOO_LARGE)


WHOLE = REQUEST.replace(b"/", b"/whole?x", 1)
WHOLE_ANSWER = ANSWER.replace(b"\r\n\r\n", b"\r\nx-said: x\r\n\r\n")


async def test_an_answer_in_one_message_is_like_another() -> None:
    async with served() as (_, connect):
        client, old, curious = [await connect() for _ in range(3)]
        await client.say(WHOLE + REQUEST + WHOLE)
        assert [await client.answer() for _ in range(3)] == [WHOLE_ANSWER, ANSWER, WHOLE_ANSWER]
        await old.say(WHOLE.replace(b"1.1", b"1.0"))
        assert await old.answer() == WHOLE_ANSWER.replace(b"x-said: x", b"x-said: x\r\nconnection: close")
        assert await old.rest() == b""
        await curious.say(WHOLE.replace(b"GET", b"HEAD").replace(b"1.1", b"1.0"))
        assert (await curious.rest()).endswith(b"\r\nconnection: close\r\n\r\n")


async def test_a_header_cannot_bring_others_with_it() -> None:
    async with served() as (_, connect):
        client = await connect()
        await client.say(WHOLE.replace(b"?x", b"?x+y:1"))
        assert (await client.rest()).startswith(b"HTTP/1.1 500 ")


async def test_what_comes_after_the_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LAST_PATIENCE", MOMENT)
    async with served() as (_, connect):
        client = await connect()
        await client.say(b"POST / HTTP/1.1\r\nhost: hindsight\r\ncontent-length: 9\r\n\r\n1234")
        assert await client.answer() == ANSWER
        assert await client.rest() == b""


async def test_a_connection_goes_on_when_the_rest_comes_in() -> None:
    async with served() as (_, connect):
        client = await connect()
        await client.say(b"POST / HTTP/1.1\r\nhost: hindsight\r\ncontent-length: 9\r\n\r\n1234")
        assert await client.answer() == ANSWER
        await client.say(b"56789" + REQUEST)
        assert await client.answer() == ANSWER


async def test_who_does_not_take_an_answer_is_cut_off_and_little_is_kept_for_them() -> None:
    async with served(patience=MOMENT) as (app, connect):
        client = await connect()
        await client.say(ENDLESS)
        await app.gone.wait()
        assert 0 < app.sent < BOUND


async def test_an_answer_ends_with_its_connection_also_when_other_requests_wait_behind_it() -> None:
    async with served(patience=MOMENT) as (app, connect):
        await (await connect()).say(ENDLESS + REQUEST)
        await app.gone.wait()


async def test_so_many_requests_may_wait_behind_each_other() -> None:
    async with served() as (_, connect):
        modest, greedy = await connect(), await connect()
        await modest.say(REQUEST * MOST_WAITING)
        for _ in range(MOST_WAITING):
            assert await modest.answer() == ANSWER
        await greedy.say(ENDLESS + REQUEST * (MOST_WAITING + 1))
        assert b"\r\nhi" not in await greedy.rest()


async def test_what_is_no_request_is_answered_once() -> None:
    async with served() as (_, connect):
        client = await connect()
        await client.say(b"no request\r\n\r\n")
        assert_refused(await client.rest(), b"400 Bad Request")


async def test_a_new_connection_takes_the_place_of_the_one_that_was_idle_the_longest() -> None:
    async with served(connections=3) as (app, connect):
        busy, first, second = [await connect() for _ in range(3)]
        await busy.say(ENDLESS)
        await busy.answer()
        await first.say(REQUEST)
        await first.answer()
        await second.say(REQUEST)
        await second.answer()
        third = await connect()
        await third.say(REQUEST)
        assert await third.answer() == ANSWER
        assert await first.rest() == b""
        assert not app.gone.is_set()
        await second.say(REQUEST)
        assert await second.answer() == ANSWER


async def deaf(connection: Any) -> None:
    """Returns when the server listens to a connection no more."""
    while connection.writable.is_set() or connection.transport.is_reading():  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0)


async def test_who_takes_nothing_over_a_websocket_is_not_listened_to() -> None:
    async with served() as (app, connect):
        client = await connect()
        await client.say(UPGRADE)
        assert (await client.answer()).startswith(b"HTTP/1.1 101 ")
        (connection,) = app.connections

        async def ping() -> None:
            while True:
                await client.say(TEXT + PINGS)

        pinging = asyncio.create_task(ping())
        await deaf(connection)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert connection.transport.get_write_buffer_size() < BOUND
        pinging.cancel()


async def test_a_websocket_is_listened_to_again_when_all_is_taken() -> None:
    async with served() as (app, connect):
        client = await connect()
        await client.say(UPGRADE)
        await client.answer()
        (connection,) = app.connections
        pinging = asyncio.create_task(client.say(PINGS * 500))
        await deaf(connection)
        assert len(await client.taken(len(PONGS * 500))) == len(PONGS * 500)
        await pinging
        await client.say(TEXT)
        await app.heard.wait()


async def test_a_websocket_that_has_ended_is_cut_off_when_not_all_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LAST_PATIENCE", MOMENT)
    async with served() as (app, connect):
        client = await connect()
        await client.say(UPGRADE)
        await client.answer()
        (connection,) = app.connections
        connection.close_timeout = 0.0
        await client.say(TEXT.replace(b"hi", b"by"))
        while app.connections:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)


class Writes(asyncio.Transport):
    """Remembers what is handed to the system, each time, and whether that is all."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.all.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_head_and_body_are_written_at_once() -> None:
    writes = Writes()
    answer = OneWrite(writes, asyncio.get_running_loop())
    for piece in (b"head", b"body", b"more"):
        answer.write(piece)
    assert writes.all == [b"headbody", b"more"]


async def test_a_head_waits_for_nothing_but_the_loop() -> None:
    writes = Writes()
    answer = OneWrite(writes, asyncio.get_running_loop())
    answer.write(b"head")
    assert writes.all == []
    await asyncio.sleep(0)
    answer.write(b"an event")
    assert writes.all == [b"head", b"an event"]


async def test_a_connection_is_not_closed_before_the_head_is_written() -> None:
    writes = Writes()
    answer = OneWrite(writes, asyncio.get_running_loop())
    answer.write(b"head")
    answer.close()
    await asyncio.sleep(0)
    assert (writes.all, answer.is_closing()) == ([b"head"], True)
