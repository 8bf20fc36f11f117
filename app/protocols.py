"""uvicorn's protocols, for connections that stay: many messages in one write, and an end that no client can put off."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LAST_PATIENCE = 2.0
"""Seconds in which a client must take what was sent before its connection ended."""

TEXT = 0x81
"""The first byte of a frame that is a whole text message: RFC 6455, section 5.2."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
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
                self.loop.call_later(LAST_PATIENCE, self.transport.abort)
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(b"".join(map(frame, texts)))

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(LAST_PATIENCE, self.transport.abort)


class HttpProtocol(HttpToolsProtocol):
    """Ends answers without end when the server stops, which would wait for them in vain.

    An application finds `hindsight.abort` among the scope's extensions: it ends a connection whose client takes nothing.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"hindsight.abort": self.transport.abort}  # type: ignore[dict-item]  # ours, and callable

    def shutdown(self) -> None:
        super().shutdown()
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle and cycle.response_started and cycle.chunked_encoding and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.write(b"0\r\n\r\n")
            self.transport.close()
            self.loop.call_later(LAST_PATIENCE, self.transport.abort)


def frame(text: bytes) -> bytes:
    """A text message as the server sends it: RFC 6455, section 5.2."""
    length = len(text)
    if length < 126:
        return bytes((TEXT, length)) + text
    if length < 65536:
        return b"%c\x7e%b%b" % (TEXT, length.to_bytes(2), text)
    return b"%c\x7f%b%b" % (TEXT, length.to_bytes(8), text)
