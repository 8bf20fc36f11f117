"""GraphQL over WebSocket, by the protocol graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. The older protocol that is called graphql-ws is not spoken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson
from starlette.types import Receive, Scope, Send

from app.api.broadcasts import Broadcasts
from app.api.context import Context
from app.api.errors import RequestError
from app.api.http import checked, decoded
from app.api.operations import Answer, Asked, refusal
from app.api.scalars import to_json
from app.security.caller import Caller

PROTOCOL = "graphql-transport-ws"

INIT_PATIENCE = 10.0
"""Seconds that a client has to say connection_init."""

CHUNK = 64 * 1024
"""Bytes that are handed to the server at once."""

LONGEST_REASON = 123
"""Bytes, by RFC 6455."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may take."""

    connections: int
    """WebSockets that a process serves at once."""
    operations: int
    """Operations under way at once over one WebSocket."""
    patience: float
    """Seconds in which a client must take what is sent."""


class Gone(Exception):
    """The client has gone."""


class Closed(Exception):
    """The connection must end, with this code and for this reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:LONGEST_REASON].decode(errors="ignore")


class WebSockets:
    """The ASGI application for WebSockets at /graphql."""

    def __init__(self, broadcasts: Broadcasts, limits: Limits) -> None:
        self._broadcasts = broadcasts
        self._limits = limits
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        if _is_of_another_site(headers):
            await send({"type": "websocket.close", "code": 4403})  # which HTTP calls 403 before the connection is accepted
            return
        spoken = PROTOCOL in scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL if spoken else None})
        if not spoken:
            await send({"type": "websocket.close", "code": 4406, "reason": f"Subprotocol not acceptable: speak {PROTOCOL}"})
        elif self._count >= self._limits.connections:
            await send({"type": "websocket.close", "code": 1013, "reason": "this server has all the clients it may have"})
        else:
            self._count += 1
            try:
                await Connection(self._broadcasts, self._limits, headers, scope, receive, send).serve()
            finally:
                self._count -= 1


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this for a page of another site: unlike other requests, it does not ask first whether it may."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class Connection:
    """One client's connection, and its operations under way."""

    def __init__(
        self, broadcasts: Broadcasts, limits: Limits, headers: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._broadcasts = broadcasts
        self._limits = limits
        self._headers = headers
        self._address = scope["client"][0] if scope["client"] else None
        self._writes_many = "hindsight.texts" in scope.get("extensions", {})
        """Whether the server takes several messages at once: see `app.protocols`."""
        self._receive = receive
        self._send = send
        self._turn = asyncio.Lock()
        self._initialised = False
        self._caller: Caller | None = None
        """Known once the client is acknowledged."""
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Until the client goes, or has to."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._read())
                self._tasks.create_task(self._wait_for_init())
        except* (Gone, OSError):  # uvicorn raises a kind of OSError for what is sent to who has gone
            pass
        except* Closed as ends:
            (first, *_) = _leaves(ends)
            with suppress(OSError):
                await self._send({"type": "websocket.close", "code": first.code, "reason": first.reason})

    async def _wait_for_init(self) -> None:
        await asyncio.sleep(INIT_PATIENCE)
        if not self._initialised:
            raise Closed(4408, "Connection initialisation timeout")

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise Gone
            await self._heard(_message(message))

    async def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "connection_init"}:
                await self._initialise(message.get("payload") or {})
            case {"type": "ping"}:
                await self._say([orjson.dumps({"type": "pong"} | _payload(message))])
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(id), "payload": dict(payload)} if id:
                await self._begin(id, payload)
            case {"type": "complete", "id": str(id)}:
                if id in self._under_way:
                    self._under_way.pop(id).cancel()
            case _:
                raise Closed(4400, f"Invalid message of the type {message.get('type')!r}")

    async def _initialise(self, payload: Any) -> None:
        if self._initialised:
            raise Closed(4429, "Too many initialisation requests")
        self._initialised = True
        given = {key.lower(): value for key, value in payload.items()} if isinstance(payload, dict) else {}
        authorization = given.get("authorization", self._headers.get("authorization"))
        callers = self._broadcasts.backend.callers
        try:
            self._caller = await callers.sender(authorization if isinstance(authorization, str) else None)
        except RequestError as error:
            raise Closed(4403, f"Forbidden: {error.message}") from None
        self._tasks.create_task(self._watch(authorization, self._caller))
        await self._say([b'{"type":"connection_ack"}'])

    async def _watch(self, authorization: str | None, caller: Caller) -> None:
        raise Closed(4403, await self._broadcasts.backend.callers.ended(authorization, caller))

    async def _begin(self, id: str, payload: dict[str, Any]) -> None:
        if self._caller is None:
            raise Closed(4401, "Unauthorized")
        if id in self._under_way:
            raise Closed(4409, f"Subscriber for {id} already exists")
        try:
            asked = checked(payload, self._headers, only_queries=False)
        except RequestError as error:
            raise Closed(4400, error.message) from None
        context = Context(self._broadcasts.backend, self._headers, self._address, self._caller)
        if len(self._under_way) >= self._limits.operations:
            what = f"one connection may have {self._limits.operations} operations under way"
            await self._refuse(orjson.dumps(id), refusal(RequestError(429, "TOO_MANY_SUBSCRIPTIONS", what), context))
        else:
            self._under_way[id] = self._tasks.create_task(self._carry_out(id, asked, context))

    async def _refuse(self, id: bytes, refused: Answer) -> None:
        await self._say([b'{"type":"error","id":%b,"payload":%b}' % (id, orjson.dumps(refused.body["errors"]))])

    async def _carry_out(self, id: str, asked: Asked, context: Context) -> None:
        written = orjson.dumps(id)
        try:
            refused = await self._answered(written, asked, context)
        except (Closed, OSError):
            raise
        except Exception as error:  # the client is told, or the log
            refused = refusal(error, context)
        if self._under_way.get(id) is asyncio.current_task():  # and has not been completed by the client
            del self._under_way[id]
        if refused is None:
            await self._say([b'{"type":"complete","id":%b}' % written])
        else:
            await self._refuse(written, refused)

    async def _answered(self, id: bytes, asked: Asked, context: Context) -> Answer | None:
        """Says all that the operation comes to; the answer if it comes to nothing but that."""
        await context.count()
        asked = self._broadcasts.operations.named(asked)
        stream = await self._broadcasts.subscribe(asked, context)
        if isinstance(stream, Answer):
            return stream
        if stream is None:
            answer = await self._broadcasts.operations.answer(asked, context)
            if "data" not in answer.body:
                return answer
            await self._say([_next(id, to_json(answer.body))])
            return None
        async with stream as batches:
            async for told in batches:
                await self._say(_next(id, text) for _, text in told)
        return None

    async def _say(self, messages: Iterable[bytes]) -> None:
        """Send them in this order. Raises Closed when the client does not take them, and OSError when it has gone."""
        async with self._turn:
            try:
                for chunk in _chunks(messages):
                    async with asyncio.timeout(self._limits.patience):
                        await self._write(chunk)
            except TimeoutError:
                slow = f"too slow: nothing was taken for {self._limits.patience:g} s; resume after the last position you got"
                raise Closed(1013, slow) from None

    async def _write(self, messages: list[bytes]) -> None:
        if self._writes_many:
            await self._send({"type": "websocket.send", "texts": messages})
            return
        for message in messages:
            await self._send({"type": "websocket.send", "text": message.decode()})


def _next(id: bytes, answer: bytes) -> bytes:
    return b'{"id":%b,"type":"next","payload":%b}' % (id, answer)


def _payload(message: dict[str, Any]) -> dict[str, Any]:
    return {"payload": message["payload"]} if "payload" in message else {}


def _message(received: Mapping[str, Any]) -> dict[str, Any]:
    try:
        message = decoded((received.get("text") or "").encode(), "the message")
    except RequestError as error:
        raise Closed(4400, error.message) from None
    if not isinstance(message, dict):
        raise Closed(4400, "Invalid message: it is no object")
    return message


def _chunks(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The messages in groups that are not much larger than CHUNK."""
    group: list[bytes] = []
    size = 0
    for message in messages:
        group.append(message)
        size += len(message)
        if size >= CHUNK:
            yield group
            group, size = [], 0
    if group:
        yield group


def _leaves(group: BaseExceptionGroup[Closed]) -> Iterator[Closed]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
