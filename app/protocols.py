"""uvicorn's protocols, for connections that stay: what goes together in one write, and an end that no client can put off."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from heapq import nsmallest
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LAST_PATIENCE = 2.0
"""Seconds in which a client must take what was sent before its connection ended."""

LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body, when they do not come all at once."""
MOST_HEADERS = 1_000
"""Of a request, with those after its body."""
MOST_WAITING = 100
"""Requests that a client may send before it has the answer to the first."""

NOT_AT_ALL = struct.pack("ii", 1, 0)
"""How long the system lingers over a connection that is closed: socket(7)."""

TEXT = 0x81
"""The first byte of a frame that is a whole text message: RFC 6455, section 5.2."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may take of a process by their connections alone."""

    connections: int
    """How many there may be; see `HttpProtocol`."""
    head: float
    """Seconds from the first byte of a request, or from the beginning of its connection, to the end of its head."""
    patience: float
    """Seconds in which a client must take what waits to be sent."""


class Ended:
    """A connection of uvicorn's that can be ended without its client's help."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    connections: set[Any]
    """All that there are."""

    def cut_off(self) -> None:
        """End it now; the system drops what it still holds for a client that takes nothing."""
        if self in self.connections:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOT_AT_ALL)
            self.transport.abort()

    def cut_off_soon(self) -> None:
        """End it when its client has had a moment to take what was sent."""
        self.loop.call_later(LAST_PATIENCE, self.cut_off)


class WebSocketProtocol(Ended, WebSocketsSansIOProtocol):
    """Takes `{"type": "websocket.send", "texts": [...]}` too, UTF-8 as bytes: one wait and one system call for all of them.

    An application finds `hindsight.texts` among the scope's extensions. Messages are not compressed.
    """

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"]["hindsight.texts"] = {}

    async def send(self, message: Any) -> None:
        texts = message.get("texts")
        if texts is None:
            if message["type"] == "websocket.close" and not self.writable.is_set():
                self.writable.set()  # who takes nothing must not put off the end
                self.cut_off_soon()
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(b"".join(map(frame, texts)))

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()  # each ping has an answer, which would wait for who takes nothing

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()  # which the receipt of the last message began again
        return message

    def on_task_complete(self, task: Any) -> None:
        super().on_task_complete(task)
        self.loop.call_later(self.close_timeout + LAST_PATIENCE, self.cut_off)  # who has not taken all by then will not

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.cut_off_soon()

    def shutdown(self) -> None:
        super().shutdown()
        self.cut_off_soon()


class OneWrite:
    """The transport of one answer, whose head waits for what comes behind it, but no longer than to the loop's next turn.

    uvicorn writes them one after the other, and to hand something to the system takes as long as a tenth of `user(id)`.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._soon: asyncio.Handle | None = None
        """Known since there was a head."""

    def write(self, data: bytes) -> None:
        """Write it, and before it the head if that waits."""
        if self._soon is None:
            self._head = data
            self._soon = self._loop.call_soon(self._write_head)
        elif self._head:
            self._soon.cancel()
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection when all is written."""
        self._write_head()
        self._transport.close()

    def _write_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class Cycle(RequestResponseCycle):
    """Takes `{"type": "http.response.start", "body": b"...", ...}` too, an answer that is whole: one message, one write.

    An application finds `hindsight.whole` among the scope's extensions.
    """

    async def send(self, message: Any) -> None:
        if "body" in message and not self.response_started:
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
            if not self.disconnected:
                self._write(message)
            return
        if not self.response_started:
            self.transport = OneWrite(self.transport, asyncio.get_running_loop())  # type: ignore[assignment]  # it has what is asked of it
        await super().send(message)

    def _write(self, message: Any) -> None:
        """As uvicorn does it, without its search for what is wrong with each header, which takes a tenth of `user(id)`."""
        lines = [STATUS_LINE[message["status"]]]
        lines += [b"%b: %b\r\n" % header for header in (*self.default_headers, *message["headers"])]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines):
            raise ValueError("a header has more than one line")
        self.response_started = self.response_complete = True
        self.transport.write(b"%b\r\n%b" % (head, b"" if self.scope["method"] == "HEAD" else message["body"]))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class HttpProtocol(Ended, HttpToolsProtocol):
    """Ends what a client would not: half a request, one that goes on after its answer, an answer that is not taken.

    When there are as many connections as there may be, a new one takes the place of those without a request under way that have
    been so the longest. Answers without end are ended when the server stops, which would wait for them in vain. An application
    finds `hindsight.abort` among the scope's extensions: it ends a connection whose client takes nothing.
    """

    scope: Any
    headers: Any
    cycle: Any
    """These three are None before the first request."""

    def __init__(self, *args: Any, limits: Limits, headers: Sequence[tuple[bytes, bytes]], **more: Any) -> None:
        """`headers` go with the answers to what is no request, of which the application does not hear."""
        super().__init__(*args, **more)
        self._limits = limits
        self._headers = headers
        self._answering: RequestResponseCycle | None = None
        """The request under way; uvicorn's own `cycle` is the newest one, which may wait behind it."""
        self._idle_since = self.loop.time()
        self._head_bytes = 0
        self._rest_due: asyncio.TimerHandle | None = None
        """Runs while a head is waited for, or the rest of what was answered already."""
        self._taking_due: asyncio.TimerHandle | None = None
        """Runs while the client takes nothing."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._rest_due = self.loop.call_later(self._limits.head, self._head_is_late)
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up()
        super().connection_lost(exc)
        self._wait_no_more()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._lacks_head():
            self._head_bytes += len(data)
            if self._rest_due is None:
                self._rest_due = self.loop.call_later(self._limits.head, self._head_is_late)
        elif self._rest_due and not self._goes_on():
            self._wait_no_more()
        if self._head_bytes > LARGEST_HEAD or (self.headers and len(self.headers) > MOST_HEADERS):
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_WAITING:
            raise OverflowError("too many requests that do not wait for their answers")  # which ends the connection
        super().on_message_begin()
        self.scope["extensions"] = {"hindsight.abort": self.cut_off, "hindsight.whole": {}}

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.more_body = False  # also when it was answered before

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        cycle.__class__ = Cycle  # uvicorn made it, and asks nobody of which class
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self.transport.is_closing():
            self.cut_off_soon()
        elif self._goes_on():
            self._rest_due = self.loop.call_later(LAST_PATIENCE, self.cut_off)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.cut_off_soon()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking_due = self.loop.call_later(self._limits.patience, self.cut_off)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking_due is not None:
            self._taking_due.cancel()
            self._taking_due = None

    def cut_off(self) -> None:
        self._give_up()
        super().cut_off()

    def _give_up(self) -> None:
        """Tell the application that the client is gone."""
        if self._answering:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _lacks_head(self) -> bool:
        """Whether a head is not whole; when it is, the scope has its method."""
        return self.scope is None or "method" not in self.scope

    def _goes_on(self) -> bool:
        """Whether a request was answered before all of it came in."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def _wait_no_more(self) -> None:
        self._head_bytes = 0
        if self._rest_due is not None:
            self._rest_due.cancel()
            self._rest_due = None

    def _head_is_late(self) -> None:
        if self.scope is None:
            self.transport.close()  # nothing was asked: browsers open connections in reserve
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Answer what can be no request; unless another answer is under way, which this would spoil."""
        if self._is_idle() and not self.transport.is_closing():
            headers = [
                *self._headers,
                (b"content-type", b"text/plain"),
                (b"content-length", b"%d" % len(status)),
                (b"connection", b"close"),
            ]
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, head, status))
        self.transport.close()
        self.cut_off_soon()

    def _make_room(self) -> None:
        """End some connections that have been idle the longest; not one by one, for they must be looked for."""
        idle = (each for each in self.connections if isinstance(each, HttpProtocol) and each._is_idle())
        some = max(1, self._limits.connections // 100)
        for each in nsmallest(some, idle, key=lambda each: each._idle_since):
            each.cut_off()
            self.connections.discard(each)  # counted no more, though it is lost only in the loop's next turn

    def shutdown(self) -> None:
        super().shutdown()
        cycle = self.cycle
        if cycle and cycle.response_started and cycle.chunked_encoding and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.write(b"0\r\n\r\n")
            self.transport.close()
            self.cut_off_soon()


def frame(text: bytes) -> bytes:
    """A text message as the server sends it: RFC 6455, section 5.2."""
    length = len(text)
    if length < 126:
        return bytes((TEXT, length)) + text
    if length < 65536:
        return b"%c\x7e%b%b" % (TEXT, length.to_bytes(2), text)
    return b"%c\x7f%b%b" % (TEXT, length.to_bytes(8), text)
