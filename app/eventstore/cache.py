"""States that were folded already, in memory and, for all processes, in Redis: events never change, so they never go stale."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec
from redis import RedisError
from redis.asyncio import Redis

from app.domain.aggregate import Stream
from app.eventstore.database import Database
from app.eventstore.folds import Folds
from app.eventstore.moment import Moment

SECONDS_SHARED = 86_400
"""How long Redis keeps a state."""
PAUSE = 5.0
"""Seconds in which a Redis that did not answer is not asked again."""

LOG_ID = """
    SELECT system_identifier || '-' || timeline_id || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())
      FROM pg_control_system(), pg_control_checkpoint()
"""
"""What tells this log from that of another database, a copy, or one that was put back to an earlier day."""

log = logging.getLogger(__name__)

Key = tuple[UUID, Moment | None]
"""A stream at a moment that is past; None is for the newest version of it that is known."""


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a process found in its cache since it began."""

    states: int
    """How many states it holds."""
    most: int
    hits: int
    """How many it found in its memory."""
    shared_hits: int
    """How many it found in Redis instead."""
    misses: int

    @property
    def hit_rate(self) -> float | None:
        """Of what was looked for, how much was found, 0 to 1; None while nothing was."""
        asked = self.hits + self.shared_hits + self.misses
        return (self.hits + self.shared_hits) / asked if asked else None


class SharedStates:
    """States in Redis. Without an answer from there nothing is found, and nothing is wrong."""

    def __init__(self, redis: Redis, folds: Folds, log_id: str) -> None:
        self._redis = redis
        self._folds = folds
        self._prefix = f"hindsight:state:{log_id}:{folds.fingerprint}"
        self._asked_again_at = 0.0

    @classmethod
    async def open(cls, redis: Redis, folds: Folds, database: Database) -> SharedStates:
        """The states of the database's log that this program's code folds."""
        return cls(redis, folds, await database.fetchval(LOG_ID))

    async def get(self, keys: Collection[Key]) -> dict[Key, Stream[Any]]:
        """Those that are there."""
        found: dict[Key, Stream[Any]] = {}
        if keys and time.monotonic() >= self._asked_again_at:
            try:
                values: list[Any] = await self._redis.mget([self._name(key) for key in keys])
            except (RedisError, OSError) as error:
                self._leave_alone(error)
                return {}
            for key, value in zip(keys, values, strict=True):
                stream = self._unpacked(key, value) if value else None
                if stream:
                    found[key] = stream
        return found

    async def put(self, states: dict[Key, Stream[Any]]) -> None:
        """Let all processes find them."""
        if states and time.monotonic() >= self._asked_again_at:
            pipeline = self._redis.pipeline(transaction=False)
            for key, stream in states.items():
                pipeline.set(self._name(key), stream.type.encode() + b"\n" + self._folds.pack(stream), ex=SECONDS_SHARED)
            try:
                await pipeline.execute()
            except (RedisError, OSError) as error:
                self._leave_alone(error)

    def _unpacked(self, key: Key, value: bytes) -> Stream[Any] | None:
        stream_type, _, packed = value.partition(b"\n")
        return self._folds.unpack(stream_type.decode(errors="replace"), key[0], packed)

    def _name(self, key: Key) -> str:
        id, moment = key
        return f"{self._prefix}:{id}:{'newest' if moment is None else msgspec.json.encode(moment).decode()}"

    def _leave_alone(self, error: Exception) -> None:
        self._asked_again_at = time.monotonic() + PAUSE
        log.warning("Redis does not answer, states are folded without it for %s s: %r", PAUSE, error)


class StateCache:
    """The states that were used last."""

    def __init__(self, most: int = 0, shared: SharedStates | None = None) -> None:
        """Holds `most` states in memory, none with 0."""
        self._most = most
        self._shared = shared
        self._states: OrderedDict[Key, Stream[Any]] = OrderedDict()
        self._hits = self._shared_hits = self._misses = 0

    async def find(self, keys: Collection[Key]) -> dict[Key, Stream[Any]]:
        """Those of the states that are known."""
        found = {key: state for key in keys if (state := self._states.get(key))}
        for key in found:
            self._states.move_to_end(key)
        self._hits += len(found)
        lacking = [key for key in keys if key not in found]
        if lacking and self._shared:
            shared = await self._shared.get(lacking)
            self._shared_hits += len(shared)
            for key, stream in shared.items():
                self.remember(key, stream)
            found |= shared
        self._misses += len(keys) - len(found)
        return found

    def newest(self, id: UUID) -> dict[UUID, Stream[Any]]:
        """The newest version of the stream that this process knows, if it knows one."""
        return {id: stream} if (stream := self._states.get((id, None))) else {}

    async def keep(self, states: dict[Key, Stream[Any]]) -> None:
        """States that were folded: for this process, and for all."""
        for key, stream in states.items():
            self.remember(key, stream)
        if self._shared:
            await self._shared.put(states)

    def remember(self, key: Key, stream: Stream[Any]) -> None:
        """A state for this process only, at once."""
        self._states[key] = stream
        self._states.move_to_end(key)
        while len(self._states) > self._most:
            self._states.popitem(last=False)

    def stats(self) -> CacheStats:
        """What was found so far."""
        return CacheStats(
            states=len(self._states), most=self._most, hits=self._hits, shared_hits=self._shared_hits, misses=self._misses
        )
