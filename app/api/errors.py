"""Errors as clients see them: always with a code and the id of the request, and nothing that was not meant for them."""

from __future__ import annotations

import logging
import re
from typing import Any, Literal

from graphql import GraphQLError

from app.errors import BadInput, HindsightError

# Not structlog: its usual renderer shows the local variables of a traceback, and there may be a password among them.
log = logging.getLogger(__name__)

SECRET = re.compile(r"((?:password|token)): String cannot represent .*", re.IGNORECASE | re.DOTALL)

SUGGESTION = re.compile(r"\s*Did you mean .*?\?", re.DOTALL)

MASKED = "something went wrong on our side; the log tells more under this request id"


Code = Literal[
    "BAD_REQUEST",
    "BAD_USER_INPUT",
    "COST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "FORBIDDEN",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "INTERNAL_SERVER_ERROR",
    "PERSISTED_QUERY_NOT_FOUND",
    "PERSISTED_QUERY_NOT_SUPPORTED",
    "RATE_LIMITED",
    "TOO_MANY_SUBSCRIPTIONS",
    "UNAUTHENTICATED",
]
"""Of errors of the API itself; the others have the codes of `app.errors`. The README tells of each what to do."""


class RequestError(Exception):
    """A request that is not carried out, for a reason that lies in how it was sent."""

    def __init__(self, status: int, code: Code, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def shown(error: Exception, request_id: str, code: Code = "BAD_USER_INPUT") -> dict[str, Any]:
    """The error as the answer holds it. `code` is that of an error that GraphQL itself found.

    Whatever was not foreseen is logged whole, under the request id, and hidden from the client.
    """
    cause = _cause(error)
    extensions: dict[str, Any] = {"code": code, "requestId": request_id}
    message = unquoted(error.message) if isinstance(error, GraphQLError) else str(error)
    match cause:
        case BadInput():
            extensions |= {"code": cause.code, "argument": cause.argument, "rule": cause.rule}
            message = cause.message
        case HindsightError():
            extensions["code"] = cause.code
            message = cause.message
        case RequestError():
            extensions["code"] = cause.code
        case GraphQLError():
            pass
        case _:
            log.error("request %s failed at %s", request_id, getattr(error, "path", None) or "its beginning", exc_info=cause)
            extensions["code"] = "INTERNAL_SERVER_ERROR"
            message = MASKED
    answer: dict[str, Any] = {"message": message}
    if isinstance(error, GraphQLError):
        if error.locations:
            answer["locations"] = [location._asdict() for location in error.locations]
        if error.path is not None:
            answer["path"] = error.path
    return answer | {"extensions": extensions}


def unquoted(message: str) -> str:
    """A message of GraphQL's own about a value, without the value where a password or token may be in it."""
    return SECRET.sub(r"\1: must be a text", message.partition(", found: ")[0])


def without_suggestions(error: dict[str, Any]) -> dict[str, Any]:
    """The error as `shown`, without the names that GraphQL suggests in place of a wrong one."""
    extensions = error["extensions"]
    if "rule" in extensions:
        extensions = {**extensions, "rule": SUGGESTION.sub("", extensions["rule"])}
    return {**error, "message": SUGGESTION.sub("", error["message"]), "extensions": extensions}


def _cause(error: Exception) -> Exception:
    """What raised it. GraphQL wraps the errors of resolvers, and those of a variable's value twice."""
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return error
