"""The six routes for scripts, as the services before this one had them: each a stored GraphQL document behind a GET."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from graphql import GraphQLSchema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.callers import unauthenticated
from app.api.context import Backend, Context
from app.api.errors import RequestError
from app.api.operations import Asked, Operations
from app.api.persisted import Persisted
from app.api.scalars import to_json
from app.eventstore.paging import LARGEST_SIZE
from app.security.caller import NOBODY

EVENT = "id type position version streamId streamType occurredAt recordedAt actor correlationId causationId data"

HISTORY = f"""query ($id: ID!, $first: Int!, $after: String) {{
    found: user(id: $id) {{
        id version history(first: $first, after: $after) {{ nodes {{ {EVENT} }} pageInfo {{ hasNextPage endCursor }} totalCount }}
    }}
}}"""
REPLAY = """query ($id: ID!, $at: Moment) {
    found: user(id: $id) {
        id
        replay(at: $at, useSnapshot: false) { state version position milliseconds differences { field shown replayed } }
    }
}"""
STATS = """{
    found: eventStats {
        total byType { type count } byTenant { tenant { id name } count } byDay { day count }
    }
}"""
RECENT = f"""query ($types: [String!], $first: Int!) {{
    found: events(filter: {{ types: $types }}, first: $first) {{ nodes {{ {EVENT} }} }}
}}"""

STATUS = {
    "BAD_USER_INPUT": 400,
    "GRAPHQL_VALIDATION_FAILED": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "PROJECTION_BEHIND": 503,
    "DATABASE_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "COST_LIMIT_EXCEEDED": 400,
}
"""Of an answer with an error of this code; of any other, 500."""

OWN = Persisted("off", {})
"""The documents here are the service's own, and are sent in full."""

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class WrongParameter(Exception):
    """A parameter that means nothing; the message says which and why."""


class Stored(msgspec.Struct, frozen=True):
    """A route, and the document behind it."""

    path: str
    document: str
    variables: Callable[[Request], dict[str, Any]]
    message: str


class Rest:
    """Answers the routes, with the same executor, limits and errors as /graphql."""

    backend: Backend
    """Known when the process is ready for requests."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._operations = Operations(schema, OWN)

    def routes(self) -> list[BaseRoute]:
        """All of them, for GET only."""
        return [Route(stored.path, self._answering(stored), methods=["GET"]) for stored in ROUTES]

    def _answering(self, stored: Stored) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            context = Context(self.backend, request.headers, request.client.host if request.client else None)
            try:
                await context.authenticate()
                await context.count()
                if context.caller is NOBODY:
                    raise unauthenticated()
                variables = stored.variables(request)
            except RequestError as refused:
                return _sent(refused.status, None, refused.message, context.position, refused.headers)
            except WrongParameter as wrong:
                return _sent(400, None, str(wrong), context.position)
            answer = await self._operations.answer(Asked(query=stored.document, variables=variables, only_queries=True), context)
            if errors := answer.body.get("errors"):
                code = errors[0].get("extensions", {}).get("code", "")
                return _sent(STATUS.get(code, 500), None, errors[0]["message"], context.position, answer.headers)
            found = answer.body["data"]["found"]
            if found is None:
                return _sent(404, None, f"there is no user {request.path_params['id']}", context.position)
            return _sent(200, found, stored.message, context.position)

        return answer


def _sent(status: int, data: Any, message: str, position: int, more: Iterable[tuple[str, str]] = ()) -> Response:
    body = to_json({"success": status == 200, "data": data, "message": message})
    headers = {**HEADERS, "hindsight-position": str(position), **dict(more)}
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _id(request: Request) -> dict[str, Any]:
    return {"id": request.path_params["id"]}


def _history(request: Request) -> dict[str, Any]:
    return {**_id(request), "first": _limit(request.query_params, LARGEST_SIZE), "after": request.query_params.get("after")}


def _at_version(request: Request) -> dict[str, Any]:
    version = request.path_params["version"]
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise WrongParameter(f"version: {version!r} is no version; versions are 1, 2, 3 and so on")
    return {**_id(request), "at": {"version": int(version)}}


def _at_time(request: Request) -> dict[str, Any]:
    if "timestamp" not in request.query_params:
        raise WrongParameter("timestamp: is needed, such as ?timestamp=2021-03-01T12:00:00Z")
    # A plus in a query string means a space; whoever wrote +02:00 meant it.
    return {**_id(request), "at": {"timestamp": request.query_params["timestamp"].replace(" ", "+")}}


def _recent(request: Request) -> dict[str, Any]:
    types = request.query_params.getlist("eventType")
    return {"types": types or None, "first": _limit(request.query_params, 20)}


def _limit(parameters: Mapping[str, str], otherwise: int) -> int:
    limit = parameters.get("limit", str(otherwise))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= LARGEST_SIZE):
        raise WrongParameter(f"limit: must be from 1 to {LARGEST_SIZE}, not {limit!r}")
    return int(limit)


USER = "/events/user/{id}"

ROUTES = (
    Stored(f"{USER}/history", HISTORY, _history, "The user's events, the oldest first."),
    Stored(f"{USER}/replay", REPLAY, _id, "The user folded from all events."),
    Stored(f"{USER}/replay/version/{{version}}", REPLAY, _at_version, "The user folded up to this version."),
    Stored(f"{USER}/replay/timestamp", REPLAY, _at_time, "The user folded up to this moment."),
    Stored("/events/stats", STATS, lambda _: {}, "How many events there are."),
    Stored("/events/recent", RECENT, _recent, "The newest events."),
)
