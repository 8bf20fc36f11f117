"""Builds the service's parts once, in the same way for every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from app.domain.role import ROLE
from app.domain.tenant import TENANT
from app.domain.user import ENDS_SESSIONS, USER
from app.eventstore.batcher import Batcher
from app.eventstore.cache import SharedStates, StateCache
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.folds import Folds
from app.eventstore.notify import Notifier
from app.eventstore.snapshots import Snapshots
from app.eventstore.states import States
from app.eventstore.store import EventStore
from app.execute import Executor
from app.security.credentials import Credentials
from app.security.keys import development_keys
from app.security.login import Limits, Login
from app.security.passwords import Passwords
from app.security.sessions import Sessions
from app.security.tokens import Tokens
from app.settings import Settings
from projections import PROJECTIONS
from projections.engine import ProjectionEngine

AGGREGATES = (USER, ROLE, TENANT)
REDIS_TIMEOUT = 0.5
"""Seconds: what is asked of it can be done without."""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that routes, resolvers and commands use."""

    settings: Settings
    url: str
    database: Database
    redis: Redis | None
    store: EventStore
    batcher: Batcher
    executor: Executor
    engine: ProjectionEngine


@asynccontextmanager
async def service(settings: Settings, url: str, *, run_projections: bool = True) -> AsyncIterator[Service]:
    """The parts, connected to the migrated database at `url`; with `run_projections` the engine runs meanwhile.

    Raises DatabaseUnavailable when the database does not answer.
    """
    async with AsyncExitStack() as stack:
        database = await Database.open(url, pool_size=settings.pool_size, timeout=settings.deadline_ms / 1000)
        stack.push_async_callback(database.close)
        folds = Folds(codec := Codec(AGGREGATES))
        making = Snapshots(database, folds, every=settings.snapshot_every, kept=settings.snapshots_kept)
        redis = await stack.enter_async_context(redis_of(settings))
        shared = await SharedStates.open(redis, folds, database) if redis else None
        cache = StateCache(settings.cached_states, shared)
        store = EventStore(database, codec, States(folds, await stack.enter_async_context(making), cache))
        engine = ProjectionEngine(store, PROJECTIONS, batch_size=settings.projection_batch)
        notifier = await stack.enter_async_context(Notifier(database))

        def on_append(position: int) -> None:
            engine.wake()
            notifier.notify(position)

        batcher = await stack.enter_async_context(Batcher(database, store.codec, on_append=on_append))
        if run_projections:
            await engine.prepare()
            await stack.enter_async_context(running(engine.run()))
        yield Service(settings, url, database, redis, store, batcher, Executor(store, batcher), engine)


async def tokens_of(settings: Settings) -> Tokens:
    """What signs and verifies tokens by these settings. Raises ConfigurationError when the keys cannot be read."""
    return await Tokens.open(
        settings.jwt_keys or development_keys(settings.data_dir),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )


def login_of(parts: Service, passwords: Passwords, tokens: Tokens) -> Login:
    """What lets users in by these settings."""
    settings, database = parts.settings, parts.database
    ended_by = [event.__name__ for event in ENDS_SESSIONS]
    return Login(
        store=parts.store,
        executor=parts.executor,
        credentials=Credentials(database),
        passwords=passwords,
        sessions=Sessions(database, days=settings.session_days, ended_by=ended_by),
        tokens=tokens,
        limits=Limits(
            attempts=settings.login_attempts,
            lock_minutes=settings.lock_minutes,
            failure_takes=settings.login_failure_ms / 1000,
            access_minutes=settings.access_minutes,
        ),
    )


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work that goes on beside the block, and is given up at its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def redis_of(settings: Settings) -> AsyncIterator[Redis | None]:
    """The Redis of the settings, None without one. Nothing is asked of it yet: it may come and go."""
    if settings.redis_url is None:
        yield None
        return
    async with Redis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT) as redis:
        yield redis
