"""The one write path: load, decide, append, and again when another writer was quicker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec
from uuid_utils.compat import uuid7

from app.domain.aggregate import Aggregate, Command, Event, Stream
from app.errors import HindsightError, IdempotencyMismatch, NotFound, Refusal, VersionConflict
from app.eventstore.append import Append, Appended
from app.eventstore.batcher import Batcher
from app.eventstore.moment import Moment
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore

ATTEMPTS = 5

RECENT = 1000
"""Commands back to which what they left is remembered."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command for one stream, with all that the log will hold about who asked and why."""

    aggregate: Aggregate[Any, Any, Any]
    stream_id: UUID
    command: Command
    metadata: Mapping[str, str]
    tenant_id: UUID | None = None
    """The tenant of a stream that may be new; without it the stream must exist."""
    within: UUID | None = None
    """The tenant whose streams alone it may touch or rely on; for it all others do not exist."""
    expected_version: int | None = None
    """The version that the client saw; without it a conflict is tried again on the new state."""
    command_id: UUID | None = None
    """From the client's idempotency key: the same id is carried out once, however often it is sent."""
    request_hash: bytes | None = None
    credential: str | None = None
    """A password hash to keep beside the stream, in the same transaction."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command came to: the stream as the command left it, and the events it added (none when nothing changed)."""

    stream: Stream[Any]
    events: tuple[RecordedEvent, ...]
    replayed: bool = False
    """The command had been carried out before; this is its first answer again."""


class Prepared(msgspec.Struct, frozen=True):
    """A decided command, ready to be appended."""

    stream: Stream[Any] | None
    append: Append


class Turn:
    """The commands of this process for one stream, one after the other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.left: Stream[Any] | None = None
        """The stream as the last command left it, if that is known."""


class Executor:
    """Carries out commands.

    Commands of this process for one stream take turns, so that they do not make each other's decisions stale, and each
    hands on what it left: however long the stream, a command that soon follows need not read it again. Writers in other
    processes are met by expected version and another attempt.
    """

    def __init__(self, store: EventStore, batcher: Batcher, *, new_id: Callable[[], UUID] = uuid7) -> None:
        self._store = store
        self._batcher = batcher
        self._new_id = new_id
        self._turns: WeakValueDictionary[UUID, Turn] = WeakValueDictionary()
        self._recent: deque[Turn] = deque(maxlen=RECENT)
        """The last ones that were taken, which are kept so that more may follow."""

    async def execute(self, request: Request) -> Outcome:
        """Carry out one command.

        Raises NotFound, a Refusal, VersionConflict (when the client named the version, or after `ATTEMPTS` losses),
        AlreadyTaken, IdempotencyMismatch or DatabaseUnavailable. Whatever is raised, nothing was written, save that
        after DatabaseUnavailable the same command id tells.
        """
        return (await self._execute([request]))[0]

    async def execute_all(self, requests: Sequence[Request]) -> list[Outcome]:
        """Carry out commands for different streams, all or none of them.

        Raises what `execute` raises; the error's attribute `index` says which request it was.
        """
        return await self._execute(requests)

    async def _execute(self, requests: Sequence[Request]) -> list[Outcome]:
        turns = {id: self._turns.setdefault(id, Turn()) for id in sorted({request.stream_id for request in requests})}
        self._recent.extend(turns.values())
        async with AsyncExitStack() as held:
            for turn in turns.values():
                await held.enter_async_context(turn.lock)
            left = {id: turn.left for id, turn in turns.items() if turn.left}
            for turn in turns.values():
                turn.left = None
            outcomes = await self._try_upon(left, requests) or await self._try_until(ATTEMPTS, requests)
            for outcome in outcomes:
                if not outcome.replayed:
                    turns[outcome.stream.id].left = outcome.stream
            return outcomes

    async def _try_upon(self, left: Mapping[UUID, Stream[Any]], requests: Sequence[Request]) -> list[Outcome] | None:
        """The outcomes upon what the commands before left; None when only the log can tell whether that is the newest."""
        if len(left) < len(requests):
            return None
        try:
            outcomes = await self._attempt(requests, left)
        except (Refusal, NotFound, VersionConflict):
            return None
        appended = all(outcome.events or request.command_id for outcome, request in zip(outcomes, requests, strict=True))
        return outcomes if appended else None

    async def _try_until(self, attempts: int, requests: Sequence[Request]) -> list[Outcome]:
        for attempts_left in reversed(range(attempts)):
            try:
                return await self._attempt(requests, {})
            except VersionConflict as conflict:
                if attempts_left == 0 or _client_named(conflict.stream_id, requests):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, requests: Sequence[Request], known: Mapping[UUID, Stream[Any]]) -> list[Outcome]:
        first_answers = await self._first_answers(requests)
        if first_answers is not None:
            return first_answers
        streams = {**known, **await self._store.load_many(_streams_needed(requests) - known.keys())}
        prepared = [self._prepare(request, streams, index) for index, request in enumerate(requests)]
        appends = [each.append for each in prepared]
        if not any(append.events or append.command_id for append in appends):
            return [Outcome(stream=_existing(each.stream), events=()) for each in prepared]
        appended = await self._batcher.append_all(appends) if len(appends) > 1 else [await self._batcher.append(appends[0])]
        return [
            await self._first_answer(result) if result.replayed else self._outcome(request, each, result)
            for request, each, result in zip(requests, prepared, appended, strict=True)
        ]

    async def _first_answers(self, requests: Sequence[Request]) -> list[Outcome] | None:
        """The answers of commands that were carried out before; None when they are new. They come all or none."""
        answers: list[Outcome] = []
        for request in requests:
            seen = await self._store.command(request.command_id) if request.command_id else None
            if seen is None:
                return None
            appended, request_hash = seen
            if request_hash != request.request_hash:
                raise IdempotencyMismatch
            answers.append(await self._first_answer(appended))
        return answers

    async def _first_answer(self, appended: Appended) -> Outcome:
        stream = await self._store.state_at(appended.stream_id, Moment(version=appended.version))
        first = appended.version - appended.events + 1
        events = await self._store.stream_events(appended.stream_id, first, appended.version) if appended.events else []
        return Outcome(stream=_existing(stream), events=tuple(events), replayed=True)

    def _prepare(self, request: Request, streams: Mapping[UUID, Stream[Any]], index: int) -> Prepared:
        try:
            return self._decide(request, streams)
        except HindsightError as error:
            error.index = index
            raise

    def _decide(self, request: Request, streams: Mapping[UUID, Stream[Any]]) -> Prepared:
        if request.within is not None:
            streams = {id: stream for id, stream in streams.items() if stream.tenant_id == request.within}
        aggregate, stream = request.aggregate, _addressed(request, streams)
        version, tenant_id = (stream.version, stream.tenant_id) if stream else (0, request.tenant_id)
        if request.expected_version is not None and request.expected_version != version:
            raise VersionConflict(request.stream_id, request.expected_version, version)
        assert tenant_id is not None, "a stream that may be new comes with its tenant"
        others = {id: streams[id] for id in aggregate.relies_on(request.command) if id in streams}
        state = stream.state if stream else None
        events = tuple(aggregate.decide(request.command, state, others))
        before, after = aggregate.claims(state), aggregate.claims(_fold(aggregate, state, events, request.command.at))
        append = Append(
            stream_id=request.stream_id,
            stream_type=aggregate.stream_type,
            tenant_id=tenant_id,
            expected_version=version,
            events=events,
            event_ids=tuple(self._new_id() for _ in events),
            occurred_at=request.command.at,
            metadata=request.metadata,
            takes=after - before,
            releases=before - after,
            relies_on={id: other.version for id, other in others.items()},
            command_id=request.command_id,
            request_hash=request.request_hash,
            credential=request.credential,
        )
        return Prepared(stream, append)

    def _outcome(self, request: Request, prepared: Prepared, appended: Appended) -> Outcome:
        append, aggregate, codec = prepared.append, request.aggregate, self._store.codec
        if not append.events:
            return Outcome(stream=_existing(prepared.stream), events=())
        before = prepared.stream.state if prepared.stream else None
        stream = Stream(
            id=append.stream_id,
            type=append.stream_type,
            tenant_id=append.tenant_id,
            version=appended.version,
            position=appended.position,
            state=_fold(aggregate, before, append.events, appended.occurred_at),
        )
        self._store.states.remember(stream, append.expected_version)
        metadata_json = msgspec.json.encode(append.metadata).decode()
        back = len(append.events) - 1
        events = tuple(
            RecordedEvent(
                position=appended.position - back + place,
                event_id=append.event_ids[place],
                stream_id=append.stream_id,
                stream_type=append.stream_type,
                version=appended.version - back + place,
                type=type(event).__name__,
                schema_version=codec.schema_version(type(event).__name__),
                tenant_id=append.tenant_id,
                event=event,
                metadata_json=metadata_json,
                occurred_at=appended.occurred_at,
                recorded_at=appended.recorded_at,
            )
            for place, event in enumerate(append.events)
        )
        return Outcome(stream=stream, events=events)


def _existing(stream: Stream[Any] | None) -> Stream[Any]:
    assert stream is not None, "a command that adds no event finds its stream there"
    return stream


def _fold(aggregate: Aggregate[Any, Any, Any], state: Any, events: Sequence[Event], at: Any) -> Any:
    for event in events:
        state = aggregate.evolve(state, event, at)
    return state


def _streams_needed(requests: Sequence[Request]) -> set[UUID]:
    return {id for request in requests for id in (request.stream_id, *request.aggregate.relies_on(request.command))}


def _addressed(request: Request, streams: Mapping[UUID, Stream[Any]]) -> Stream[Any] | None:
    """The stream that the request is for; None when it may be new and is.

    Raises NotFound when it is missing, or is of another type or tenant: to this caller that is the same.
    """
    stream = streams.get(request.stream_id)
    if stream is None and request.tenant_id is not None:
        return None
    if stream is None or stream.type != request.aggregate.stream_type or request.tenant_id not in (None, stream.tenant_id):
        raise NotFound(request.aggregate.stream_type.lower(), request.stream_id)
    return stream


def _client_named(stream_id: UUID, requests: Sequence[Request]) -> bool:
    return any(request.stream_id == stream_id and request.expected_version is not None for request in requests)
