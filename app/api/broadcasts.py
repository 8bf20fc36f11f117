"""Subscriptions under way: what several subscribers asked for in the same words is worked out and written once for all.

Nothing is kept for a subscriber but a place. Who takes what comes at once shares the newest batches with the others; who is
slower gets theirs made again, from the log, and memory stays the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import orjson
from graphql import GraphQLError, OperationType, get_argument_values, located_error
from graphql.execution.collect_fields import collect_fields
from graphql.language import VariableNode
from graphql.pyutils import Path

from app.api.context import Backend, Context
from app.api.errors import RequestError
from app.api.lean import LeanExecutor
from app.api.operations import Answer, Asked, Operations
from app.api.scalars import to_json
from app.errors import DatabaseUnavailable
from app.eventstore.feed import LARGEST_PAGE
from projections.engine import growing_pauses

KEPT = 4
"""Batches that subscribers share: the newest ones."""

LINGER = 0.02
"""Seconds between two batches: under load the next one then holds all events of that time."""

WHERE_TO_BEGIN = "after"
"""The argument that may differ between subscribers who share the work."""

log = logging.getLogger(__name__)

Root: TypeAlias = tuple[int, Callable[[], Any]]
"""Something to tell: a position, and what makes the value of the root field."""


class Source(Protocol):
    """Where a subscription's news come from. A place is a number from which to go on; None is the end."""

    async def begin(self) -> tuple[Sequence[Root], int]:
        """What to tell at once, and the place to go on from. Raises HindsightError."""

    async def after(self, place: int) -> tuple[Sequence[Root], int | None]:
        """The next news, perhaps none, and the place after them; waits for some. Raises DatabaseUnavailable."""


Told: TypeAlias = Sequence[tuple[int, bytes]]
"""Positions, and the answers in JSON."""


class Batch(NamedTuple):
    """What is told, and the place after it."""

    told: Told
    place: int | None


class Broadcast:
    """What all get who subscribed in the same words."""

    def __init__(self, source: Source, write: Callable[[Root], Any]) -> None:
        self.followers = 0
        self._source = source
        self._write = write
        self._batches: OrderedDict[int, asyncio.Task[Batch]] = OrderedDict()
        """The newest ones, by the place before them."""
        self._resting_until = 0.0

    async def after(self, place: int) -> Batch:
        """The next batch, which is never empty but at the end."""
        making = self._batches.get(place)
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            making = self._batches[place] = asyncio.create_task(self._made(place), name="broadcast")
            for old in list(self._batches)[:-KEPT]:
                if self._batches[old].done():
                    del self._batches[old]
        return await asyncio.shield(making)

    def close(self) -> None:
        """Nobody follows it any more."""
        for making in self._batches.values():
            making.cancel()

    async def _made(self, place: int) -> Batch:
        clock, pauses = asyncio.get_running_loop().time, growing_pauses()
        await asyncio.sleep(max(0, self._resting_until - clock()))
        goes_on: int | None = place
        while goes_on is not None:
            try:
                roots, goes_on = await self._source.after(goes_on)
            except DatabaseUnavailable as error:
                log.warning("subscribers wait: %s", error)
                await asyncio.sleep(next(pauses))
                continue
            if roots:
                told = [(root[0], await self._write(root)) for root in roots]
                if len(roots) < LARGEST_PAGE:
                    self._resting_until = clock() + LINGER
                return Batch(told, goes_on)
        return Batch([], None)


class Broadcasts:
    """All subscriptions of a process."""

    backend: Backend
    """Known when the process is ready for requests."""

    def __init__(self, operations: Operations, most: int) -> None:
        """`most` subscriptions are served at once."""
        self.operations = operations
        self._most = most
        self._count = 0
        self._live: dict[Any, Broadcast] = {}

    async def subscribe(self, asked: Asked, context: Context) -> AbstractAsyncContextManager[AsyncIterator[Told]] | Answer | None:
        """What the subscription tells, batch by batch; the answer when it cannot begin, and None for any other operation.

        Raises GraphQLError for wrong arguments, and RequestError when there are too many.
        """
        prepared = await self.operations.prepare(asked, context)
        if isinstance(prepared, Answer):
            return prepared
        plan, executor = prepared
        if plan.type is not OperationType.SUBSCRIPTION:
            return None
        if self._count >= self._most:
            raise RequestError(503, "TOO_MANY_SUBSCRIPTIONS", "this server has all the subscribers it may have; try again later")
        source, free = _source(executor, asked.resume_after)
        return aclosing(self._followed(asked, source, (*_words(asked, free), *_sight(context)), context))

    async def _followed(self, asked: Asked, source: Source, key: Any, context: Context) -> AsyncGenerator[Told]:
        write = partial(self._written, asked, context)
        broadcast = self._live.setdefault(key, Broadcast(source, write))
        broadcast.followers += 1
        self._count += 1
        try:
            roots, begun = await source.begin()
            place: int | None = begun
            if roots:
                yield [(root[0], await write(root)) for root in roots]
            while place is not None:
                told, place = await broadcast.after(place)
                if told:
                    yield told
        finally:
            self._count -= 1
            broadcast.followers -= 1
            if not broadcast.followers:
                broadcast.close()
                del self._live[key]

    async def _written(self, asked: Asked, context: Context, root: Root) -> bytes:
        position, value = root
        fresh = Context(context.backend, {}, None, context.caller)
        return to_json((await self.operations.tell(asked, position, value, fresh)).body)


def _source(executor: LeanExecutor, resume_after: int | None) -> tuple[Source, str | None]:
    """The source of a subscription, as `create_source_event_stream` makes one; and the variable that says where it begins."""
    schema = executor.schema
    root = schema.subscription_type
    assert root, "the document is validated"
    ((name, details),) = collect_fields(
        schema, executor.fragments, executor.variable_values, root, executor.operation
    ).grouped_field_set.items()
    nodes = [each.node for each in details]
    field = schema.get_field(root, nodes[0].name.value)
    assert field is not None, "the document is validated"
    assert field.subscribe, "it is a subscription"
    path = Path(None, name, root.name)
    begins = [each.value for each in nodes[0].arguments or () if each.name.value == WHERE_TO_BEGIN]
    try:
        info = executor.build_resolve_info(field, nodes, root, path)
        arguments = get_argument_values(field, nodes[0], executor.variable_values)
        if resume_after is not None and WHERE_TO_BEGIN in field.args:
            arguments[WHERE_TO_BEGIN] = resume_after
        source: Source = field.subscribe(None, info, **arguments)
    except Exception as error:
        located: GraphQLError = located_error(error, nodes, path.as_list())
        raise located from error
    free = begins[0].name.value if begins and isinstance(begins[0], VariableNode) else None
    return source, free


def _words(asked: Asked, free: str | None) -> tuple[object, ...]:
    """What subscribers have in common who get the same."""
    variables = dict(asked.variables or {})
    if free and asked.query.count(f"${free}") == 2:  # where it is declared, and where it says where to begin
        variables.pop(free, None)
    return asked.query, asked.operation_name, orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)


def _sight(context: Context) -> tuple[object, ...]:
    """What subscribers have in common who may see the same."""
    caller = context.caller
    return caller.within, caller.permissions
