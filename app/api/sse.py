"""GraphQL over server-sent events, in the distinct connections mode: one request, one stream.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. Each event's `id` is its position, so that a client that
sends it back in `Last-Event-ID`, as browsers do by themselves, goes on after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send

from app.api.broadcasts import Broadcasts, Told
from app.api.context import Context
from app.api.errors import RequestError
from app.api.operations import Answer, Asked, Operations, refusal
from app.api.scalars import LAST_POSITION, to_json

MEDIA_TYPE = "text/event-stream"

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that nobody on the way takes the connection for dead."""

HEADERS = [
    (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait for more
    (b"x-content-type-options", b"nosniff"),
]

COMPLETE = b"event: complete\ndata:\n\n"

log = logging.getLogger(__name__)


def wanted(headers: Mapping[str, str]) -> bool:
    """Whether the client asks for a stream."""
    return MEDIA_TYPE in headers.get("accept", "")


def last_event_id(headers: Mapping[str, str]) -> int | None:
    """The position of the last event that the client got, over an earlier connection. Raises RequestError."""
    text = headers.get("last-event-id")
    if not text:
        return None
    if not (text.isdecimal() and text.isascii()) or int(text) > LAST_POSITION:
        raise RequestError(400, "BAD_USER_INPUT", f"Last-Event-ID: {text!r} is no position")
    return int(text)


class EventStreams:
    """Answers by streams."""

    def __init__(self, broadcasts: Broadcasts, patience: float) -> None:
        """A client has `patience` seconds to take what is sent."""
        self._broadcasts = broadcasts
        self._patience = patience

    async def answer(self, asked: Asked, context: Context, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Stream what the operation comes to; returned is only what must be answered without a stream."""
        try:
            stream = await self._broadcasts.subscribe(asked, context)
        except Exception as error:  # the answer says what it was, or the log
            stream = refusal(error, context)
        if isinstance(stream, Answer):
            return stream
        async with stream or _alone(self._broadcasts.operations, asked, context) as batches:
            await Stream(scope, receive, send, self._patience).tell(batches, context)
        return None


@asynccontextmanager
async def _alone(operations: Operations, asked: Asked, context: Context) -> AsyncIterator[AsyncIterator[Told]]:
    """The only answer of a query or mutation, in the shape of a subscription's."""

    async def batches() -> AsyncIterator[Told]:
        answer = await operations.answer(asked, context)
        yield [(context.position, to_json(answer.body))]

    yield batches()


class Over(Exception):
    """All is said."""


class Gone(Exception):
    """The client has gone."""


class TooSlow(Exception):
    """The client does not take what is sent."""


class Stream:
    """One answer, as it goes out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, patience: float) -> None:
        self._abort = scope.get("extensions", {}).get("hindsight.abort", lambda: None)
        self._receive = receive
        self._send = send
        self._patience = patience
        self._turn = asyncio.Lock()

    async def tell(self, batches: AsyncIterator[Told], context: Context) -> None:
        """Send all batches, until there are no more, the token ends, or the client goes or does not take them."""
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._wait_until_gone(), self._keep_alive(), self._watch(context), self._tell(batches, context)):
                    tasks.create_task(work)
        except* Over:
            await self._write(COMPLETE, more=False)
        except* Gone:
            pass
        except* TooSlow:
            log.info("a stream ends: nothing of it was taken for %g s", self._patience)
            self._abort()

    async def _tell(self, batches: AsyncIterator[Told], context: Context) -> None:
        try:
            async for told in batches:
                await self._write(b"".join(_event(text, position) for position, text in told))
        except TooSlow:
            raise
        except Exception as error:  # the client is told, or the log
            await self._write(_event(to_json(refusal(error, context).body)))
        raise Over

    async def _watch(self, context: Context) -> None:
        reason = await context.outlived()
        refused = refusal(RequestError(401, "UNAUTHENTICATED", reason), context)
        await self._write(_event(to_json(refused.body)))
        raise Over

    async def _keep_alive(self) -> None:
        while True:  # the first one says that the stream is open, though there may be nothing to tell for long
            await self._write(b":\n\n")
            await asyncio.sleep(KEEP_ALIVE)

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise Gone

    async def _write(self, text: bytes, *, more: bool = True) -> None:
        async with self._turn:
            try:
                async with asyncio.timeout(self._patience):
                    await self._send({"type": "http.response.body", "body": text, "more_body": more})
            except TimeoutError:
                raise TooSlow from None


def _event(answer: bytes, position: int | None = None) -> bytes:
    place = b"" if position is None else b"id: %d\n" % position
    return b"%bevent: next\ndata: %b\n\n" % (place, answer)
