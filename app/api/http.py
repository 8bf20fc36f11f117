"""GraphQL over HTTP, after https://graphql.github.io/graphql-over-http/draft/: POST, and GET for queries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope, Send

from app.api import closed, sse
from app.api.compression import compressed
from app.api.context import Backend, Context
from app.api.disconnects import Gone, Watch
from app.api.errors import RequestError
from app.api.operations import Answer, Asked, Operations, late, refusal
from app.api.persisted import digest
from app.api.scalars import LAST_POSITION, to_json
from app.api.sse import EventStreams

log = logging.getLogger(__name__)

LARGEST_BODY = 1024 * 1024
DEEPEST_JSON = 64
MOST_VARIABLES = 100

Headers = Mapping[str, str]
"""By their names in lower case; of several with one name, the first."""

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
MEDIA_TYPES = {JSON: JSON, GRAPHQL_RESPONSE: GRAPHQL_RESPONSE, "application/*": JSON, "*/*": JSON}
"""What a client may accept, and what it then gets."""

SIMPLE = frozenset({"", "text/plain"})
"""Types that a browser sends for any page without asking first, and that may hold JSON."""
PREFLIGHT = ("hindsight-preflight", "apollo-require-preflight")
"""Headers for which it asks first."""

PIECE = 64 * 1024
"""Bytes of an answer that wait for a client at most."""

WHOLE = "hindsight.whole"
"""With this among its extensions, a server takes head and body in one message."""

VARY = (b"vary", b"accept, accept-encoding, authorization")
NOT_KEPT = (b"cache-control", b"no-store")


class GraphQLEndpoint:
    """The ASGI application at /graphql."""

    backend: Backend
    """Known when the process is ready for requests."""

    def __init__(self, operations: Operations, streams: EventStreams) -> None:
        self._operations = operations
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        context = Context(self.backend, headers, scope["client"][0] if scope["client"] else None)
        media_type, well_formed = JSON, False
        try:
            streamed = sse.wanted(headers)
            media_type = JSON if streamed else acceptable(headers.get("accept") or JSON)
            await context.authenticate()
            await context.count()
            with Watch(receive, self.backend.deadline) as watch:
                asked = await _asked(scope, headers, receive)
                well_formed = True
                asked = self._operations.named(asked)
                watch.all_received()
                answer = None if streamed else await self._operations.carry_out(asked, context)
            if streamed:
                answer = await self._streams.answer(asked, context, scope, receive, send)
        except RequestError as error:
            answer = refusal(error, context)
        except TimeoutError:
            half = RequestError(408, "DEADLINE_EXCEEDED", "the body did not come in in time")
            answer = late(context) if well_formed else refusal(half, context)
        except Gone:
            log.info("request %s was given up: its client is gone", context.request_id)
            return
        if answer is None:
            return  # it was streamed
        # To clients of the older media type a status of 400 may come from a proxy, so a GraphQL answer says 200 to them.
        status = 200 if well_formed and answer.status == 400 and media_type == JSON and not streamed else answer.status
        try:
            await _send(answer, status, media_type, context, scope, headers.get("accept-encoding", ""), send)
        except TimeoutError:
            log.info("request %s: its client did not take the answer in time", context.request_id)
            scope.get("extensions", {}).get("hindsight.abort", lambda: None)()


@lru_cache(100)
def acceptable(accept: str) -> str:
    """The media type to answer in, after the header Accept. Raises RequestError when there is none."""
    wanted: list[tuple[float, str]] = []
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if media_type in MEDIA_TYPES and quality.replace(".", "", 1).isdigit() and float(quality) > 0:
            wanted.append((float(quality), MEDIA_TYPES[media_type]))
    if not wanted:
        raise RequestError(406, "BAD_REQUEST", f"the answer can be {GRAPHQL_RESPONSE} or {JSON}; accept one of them")
    return max(wanted, key=lambda each: each[0])[1]


@lru_cache(100)
def in_utf_8(content_type: str) -> str | None:
    """The media type of a body, after the header Content-Type; None for one that is not in UTF-8."""
    media_type, _, parameters = content_type.lower().partition(";")
    return media_type.strip() if parameters.strip().replace('"', "") in ("", "charset=utf-8") else None


async def _asked(scope: Scope, headers: Headers, receive: Receive) -> Asked:
    match scope["method"]:
        case "POST":
            return checked(await _posted(headers, receive), headers, only_queries=False)
        case "GET":
            parameters: dict[str, Any] = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            for name in parameters.keys() & {"variables", "extensions"}:
                parameters[name] = decoded(parameters[name].encode(), f"the parameter {name}")
            return checked(parameters, headers, only_queries=True)
        case method:
            allowed = (("allow", "GET, POST"),)
            raise RequestError(405, "BAD_REQUEST", f"{method} means nothing here; use POST, or GET for queries", allowed)


async def _posted(headers: Headers, receive: Receive) -> dict[str, Any]:
    media_type = in_utf_8(headers.get("content-type", ""))
    # Other types a browser would send without asking first, on behalf of any page that its user has open.
    if media_type != JSON and not (media_type in SIMPLE and any(each in headers for each in PREFLIGHT)):
        raise RequestError(415, "BAD_REQUEST", f"send the request as {JSON}, in UTF-8")
    parameters = decoded(await _body(headers, receive), "the body")
    if not isinstance(parameters, dict):
        raise RequestError(400, "BAD_REQUEST", "the body must be a JSON object with the key query")
    return parameters


async def _body(headers: Headers, receive: Receive) -> bytes:
    announced = headers.get("content-length", "")
    body = bytearray()
    more = not (announced.isdigit() and int(announced) > LARGEST_BODY)
    complete = False
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "BAD_REQUEST", "the body ended early")
        body += message.get("body", b"")
        complete = not message.get("more_body", False)
        more = not complete and len(body) <= LARGEST_BODY
    if not complete or len(body) > LARGEST_BODY:
        raise RequestError(413, "BAD_REQUEST", f"the body may have {LARGEST_BODY} bytes")
    return bytes(body)


def decoded(text: bytes, what: str) -> Any:
    """The value that the JSON text means. Raises RequestError that calls it `what`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "BAD_REQUEST", f"{what} is not JSON: {error}") from None
    # Most requests have fewer brackets in all, and need not be looked through.
    if text.count(b"{") + text.count(b"[") > DEEPEST_JSON and _is_deep(value):
        raise RequestError(400, "BAD_REQUEST", f"{what} is nested deeper than {DEEPEST_JSON}")
    if b"\\u0000" in text and _holds_nul(value):
        raise RequestError(400, "BAD_USER_INPUT", f"{what} holds the character U+0000, which PostgreSQL does not")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST_JSON):
        within = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for members in within for each in members]
    return any(isinstance(each, dict | list) for each in level)


def _holds_nul(value: Any) -> bool:
    todo = [value]
    while todo:
        match todo.pop():
            case str() as text if "\0" in text:
                return True
            case dict() as members:
                todo += [*members.keys(), *members.values()]
            case list() as items:
                todo += items
            case _:
                pass
    return False


def checked(parameters: dict[str, Any], headers: Headers, *, only_queries: bool) -> Asked:
    """What a request's parameters ask for. Raises RequestError."""
    query, name = parameters.get("query"), parameters.get("operationName")
    if name is not None and not isinstance(name, str):
        raise RequestError(400, "BAD_REQUEST", "operationName must be a text: which operation of the document to carry out")
    variables, extensions = _object(parameters, "variables"), _object(parameters, "extensions")
    named = digest(parameters, extensions)
    if not (isinstance(query, str) and query) and not (named and query is None):
        raise RequestError(400, "BAD_REQUEST", "query must be a text: the GraphQL document")
    if len(variables) > MOST_VARIABLES:
        raise RequestError(400, "BAD_REQUEST", f"there are {len(variables)} variables, and may be {MOST_VARIABLES}")
    return Asked(
        query=query or "",
        digest=named,
        operation_name=name or None,
        variables=variables,
        min_position=_min_position(headers, extensions),
        resume_after=sse.last_event_id(headers),
        only_queries=only_queries,
        known=closed.known(headers.get("if-none-match", "")) if only_queries else None,
        form=f"{headers.get('accept')} {headers.get('accept-encoding')}" if only_queries else "",
    )


def _object(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    given = parameters.get(name)
    if given is not None and not isinstance(given, dict):
        raise RequestError(400, "BAD_REQUEST", f"{name} must be an object")
    return given or {}


def _min_position(headers: Headers, extensions: dict[str, Any]) -> int:
    given: Any = extensions.get("minPosition")
    if given is None:
        header = headers.get("hindsight-min-position", "0")
        given = int(header) if header.isdecimal() and header.isascii() and len(header) < 20 else header
    if not isinstance(given, int) or not 0 <= given <= LAST_POSITION:
        raise RequestError(
            400, "BAD_USER_INPUT", f"Hindsight-Min-Position: {given!r} is no position; it is a whole number from 0"
        )
    return given


async def _send(answer: Answer, status: int, media_type: str, context: Context, scope: Scope, accepted: str, send: Send) -> None:
    """Raises TimeoutError when the client does not take it."""
    body, coding = (b"", "") if status == 304 else compressed(to_json(answer.body), accepted)
    headers = [
        (b"content-type", b"%b; charset=utf-8" % media_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"hindsight-position", b"%d" % context.shown_position),
        (b"x-request-id", context.request_id.encode("latin-1")),
        VARY,
        *[(name.encode(), value.encode()) for name, value in answer.headers],
    ]
    if not answer.kept:
        headers.append(NOT_KEPT)
    if coding:
        headers.append((b"content-encoding", coding.encode()))
    head = {"type": "http.response.start", "status": status, "headers": headers}
    if len(body) <= PIECE and WHOLE in scope.get("extensions", ()):
        await send({**head, "body": body})
        return
    await send(head)
    if len(body) <= PIECE:
        await send({"type": "http.response.body", "body": body})
        return
    async with asyncio.timeout(context.backend.deadline):
        for start in range(0, len(body), PIECE):
            more = start + PIECE < len(body)
            await send({"type": "http.response.body", "body": body[start : start + PIECE], "more_body": more})
