"""Carries out one operation: waits for what it must see, gives its fields one view of the database, ends it in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationType, value_from_ast_untyped

from app.api import closed
from app.api.callers import unauthenticated
from app.api.context import Context
from app.api.documents import Document, Documents, Plan
from app.api.errors import Code, RequestError, shown, without_suggestions
from app.api.lean import LeanExecutor
from app.api.persisted import Persisted
from app.errors import BadInput, DatabaseUnavailable, ProjectionBehind
from app.security.caller import NOBODY

DEADLINE_EXCEEDED = "the request took longer than it may; a mutation may have been carried out, its idempotency key tells"

NO_STREAM = "a subscription is answered by a stream: accept text/event-stream, or use a WebSocket (graphql-transport-ws)"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for."""

    query: str
    """The document; nothing in a request that only names it."""
    digest: str = ""
    """The SHA-256 by which the request names the document, if it does."""
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    min_position: int = 0
    """The read tables must hold the log up to here."""
    only_queries: bool = False
    known: frozenset[str] | None = None
    """By their tags, the answers that the client has; None when it would not keep any."""
    form: str = ""
    """What, besides, the bytes of an answer depend on."""
    resume_after: int | None = None
    """The position of the last event that the client got of this subscription, over an earlier connection."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered. Without `data` in its body the operation was not begun, or not ended, and the status says why."""

    body: dict[str, Any]
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    kept: bool = False
    """It will never be another, and the headers say so."""


class Operations:
    """Carries out operations on one schema."""

    def __init__(self, schema: GraphQLSchema, persisted: Persisted) -> None:
        self._schema = schema
        self._documents = Documents(schema)
        self._persisted = persisted

    def named(self, asked: Asked) -> Asked:
        """The request with the document that it names. Raises RequestError when that may not be carried out."""
        text = self._persisted.text(asked.query, asked.digest)
        return asked if text is asked.query else msgspec.structs.replace(asked, query=text)

    async def answer(self, asked: Asked, context: Context) -> Answer:
        """What the operation comes to, within the deadline. Never raises: whatever goes wrong is in the answer."""
        try:
            async with asyncio.timeout(context.backend.deadline):
                return await self.carry_out(asked, context)
        except TimeoutError:
            return late(context)

    async def carry_out(self, asked: Asked, context: Context) -> Answer:
        """The same, for who sees to the deadline."""
        try:
            return await self._answer(asked, context)
        except TimeoutError:  # of a statement
            return late(context)
        except Exception as error:  # the answer says what it was, or the log
            return refusal(error, context)

    async def _answer(self, asked: Asked, context: Context) -> Answer:
        prepared = await self.prepare(asked, context)
        if isinstance(prepared, Answer):
            return prepared
        plan, executor = prepared
        if plan.type is OperationType.SUBSCRIPTION:
            raise RequestError(400, "BAD_REQUEST", NO_STREAM)
        tag = "" if asked.known is None else closed.tag(plan, _given(asked), executor.variable_values.coerced, context)
        if tag and tag in (asked.known or ()):
            return Answer(body={}, status=304, headers=closed.headers(tag), kept=True)
        await _wait(plan, executor.variable_values.coerced, asked.min_position, context)
        if tag and await closed.is_whole(plan, context):
            return _kept(await self._carried_out(plan, executor, context), tag)
        return await self._carried_out(plan, executor, context)

    async def prepare(self, asked: Asked, context: Context) -> tuple[Plan, LeanExecutor] | Answer:
        """What it takes to carry the operation out; the answer when it cannot or may not be. Raises RequestError."""
        document = self._documents.prepare(asked.query)
        if context.caller is NOBODY and not _is_open(document, asked):
            raise unauthenticated()
        if document.node is None:
            return _not_begun(document.errors, context, document.error_code)
        executor = self._executor(document, asked, context)
        if isinstance(executor, list):
            return _not_begun(executor, context)
        plan = document.plans[asked.operation_name]
        if asked.only_queries and plan.type is OperationType.MUTATION:
            raise RequestError(405, "BAD_REQUEST", "GET is for queries only; send this by POST", (("allow", "POST"),))
        _check_limits(plan, executor.variable_values.coerced, context)
        await plan.demands.admit(context, executor.variable_values.coerced)
        return plan, executor

    async def _carried_out(self, plan: Plan, executor: LeanExecutor, context: Context) -> Answer:
        if plan.one_statement or plan.type is OperationType.MUTATION:
            return _begun(await executor.result(), context)
        async with context.store.database.snapshot(context.backend.engine.views(plan.projections)) as context.reads:
            return _begun(await executor.result(), context)

    async def tell(self, asked: Asked, position: int, root: Callable[[], Any], context: Context) -> Answer:
        """What a subscription that was prepared has to say of something that happened at a position. Never raises."""
        try:
            async with asyncio.timeout(context.backend.deadline):
                document = self._documents.prepare(asked.query)
                plan, executor = document.plans[asked.operation_name], self._executor(document, asked, context)
                assert not isinstance(executor, list), "it was prepared before"
                executor.root_value = root
                await _wait(plan, executor.variable_values.coerced, position, context)
                context.position = position
                return await self._carried_out(plan, executor, context)
        except TimeoutError:
            return late(context)
        except Exception as error:  # the answer says what it was, or the log
            return refusal(error, context)

    def _executor(self, document: Document, asked: Asked, context: Context) -> LeanExecutor | list[GraphQLError]:
        plan = document.plans.get(asked.operation_name)
        if plan is not None and plan.compiled is not None:
            return plan.compiled.executor(context, asked.variables or {})
        assert document.node, "there is nothing wrong with the document"
        built: Any = LeanExecutor.build(
            self._schema,
            document.node,
            context_value=context,
            raw_variable_values=asked.variables,
            operation_name=asked.operation_name,
        )
        return built  # type: ignore[no-any-return]  # declared for its base class only


def _given(asked: Asked) -> list[Any]:
    return [asked.query, asked.operation_name, asked.variables, asked.form]


def _kept(answer: Answer, tag: str) -> Answer:
    """The answer for a client that keeps it: without how far the log reaches, which will be another; with errors none is kept."""
    if "errors" in answer.body:
        return answer
    extensions = {name: value for name, value in answer.body["extensions"].items() if name != "position"}
    return Answer(body={**answer.body, "extensions": extensions}, headers=closed.headers(tag), kept=True)


def _is_open(document: Document, asked: Asked) -> bool:
    plan = document.plans.get(asked.operation_name)
    return plan is not None and plan.demands.open


def _check_limits(plan: Plan, variables: Mapping[str, Any], context: Context) -> None:
    """Raises RequestError for an operation that costs too much, or asks for a schema that the caller may not see."""
    if plan.introspects and not context.sees_schema:
        raise RequestError(403, "FORBIDDEN", "asking for the schema needs the permission schema.read")
    context.price = plan.price.of(variables)
    if context.price > context.backend.cost_limit:
        budget = context.backend.cost_limit
        message = f"the operation costs {context.price}, and may cost {budget}: ask for smaller pages, or for less in each item"
        raise RequestError(400, "COST_LIMIT_EXCEEDED", message)


async def _wait(plan: Plan, variables: Mapping[str, Any], min_position: int, context: Context) -> None:
    """Wait until the read tables hold what the operation must see. It must be before its snapshot is taken."""
    engine = context.backend.engine
    if plan.projections:
        context.position = engine.reached(plan.projections)
    context.projected = context.position
    wanted = max(_positions(plan, variables), default=0) if plan.moments else 0
    if wanted > context.projected:
        context.head = await context.backend.store.head()
        wanted = min(wanted, context.head)  # the field will say that there is no such moment
    wanted = max(wanted, min_position)
    if wanted > context.projected and plan.projections:
        await engine.wait_for(plan.projections, wanted, context.backend.wait)
        context.projected = context.position = wanted


def _positions(plan: Plan, variables: Mapping[str, Any]) -> Iterator[int]:
    """The positions that the operation's arguments name as moments."""
    for node in plan.moments:
        given = value_from_ast_untyped(node, dict(variables))
        position = given.get("position") if isinstance(given, dict) else None
        if isinstance(position, int):
            yield position


def _begun(result: ExecutionResult, context: Context) -> Answer:
    body: dict[str, Any] = {"data": result.data, "extensions": {"position": context.shown_position, "cost": _cost(context)}}
    if result.errors:
        body["errors"] = [shown(error, context.request_id) for error in result.errors]
    return Answer(body=body)


def _not_begun(errors: Sequence[Exception], context: Context, code: Code = "BAD_USER_INPUT") -> Answer:
    told = [shown(error, context.request_id, code) for error in errors]
    return Answer(body={"errors": told if context.sees_schema else list(map(without_suggestions, told))}, status=400)


def late(context: Context) -> Answer:
    """The answer to an operation whose deadline has passed."""
    return refusal(RequestError(504, "DEADLINE_EXCEEDED", DEADLINE_EXCEEDED), context)


def _cost(context: Context) -> dict[str, int]:
    return {"budget": context.backend.cost_limit, "price": context.price}


def refusal(error: Exception, context: Context) -> Answer:
    """The answer to a request that failed as a whole."""
    body: dict[str, Any] = {"errors": [shown(error, context.request_id)]}
    if context.price:
        body["extensions"] = {"cost": _cost(context)}
    match error:
        case RequestError():
            return Answer(body=body, status=error.status, headers=error.headers)
        case BadInput():
            return Answer(body=body, status=400)
        case ProjectionBehind() | DatabaseUnavailable():
            return Answer(body=body, status=503)
        case _:
            return Answer(body=body, status=500)
