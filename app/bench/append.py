"""Appends of one event each by many clients at once, against INSERTs of one row each by as many connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from app.bench import limits
from app.bench.report import SLICES, Line, Slices, in_slices, line
from app.bench.scratch import Scratch
from app.domain.aggregate import Claim
from app.domain.user_events import UserCreated, UserUpdated
from app.eventstore.append import Append
from app.eventstore.batcher import Batcher
from app.settings import Settings
from app.wiring import service

WANTED = {1: 0.35, 16: 0.8, 64: 1.0}
METADATA = {"actor": "bench"}


async def measure(settings: Settings, scratch: Scratch, *, slices: Slices = SLICES) -> AsyncGenerator[Line]:
    """A line for each number of clients."""
    limit_url = await scratch.fresh()
    async with service(settings, await scratch.fresh(), run_projections=False) as parts:
        for clients, wanted in WANTED.items():
            async with limits.one_row_inserts(limit_url, clients) as inserts:
                measured, limit = await in_slices(slices, partial(_appends, parts.batcher, clients), inserts, at_once=clients)
            work = f"append, {clients} client{'s' if clients > 1 else ''}, 1 event each"
            yield line(work, measured, limit, "one-row INSERT commits, as many connections", wanted)


async def _appends(batcher: Batcher, clients: int, seconds: float) -> list[float]:
    """Times acknowledged appends: users that are created and then renamed."""
    tenant_id, done = uuid4(), [time.perf_counter()]
    end = done[0] + seconds

    async def client() -> None:
        while done[-1] < end:
            user_id = uuid7()
            for append in (creation(tenant_id, user_id), _renaming(tenant_id, user_id)):
                await batcher.append(append)
                done.append(time.perf_counter())

    await asyncio.gather(*(client() for _ in range(clients)))
    return done


def creation(tenant_id: UUID, user_id: UUID) -> Append:
    """The append that creates a user."""
    username = f"user-{user_id}"
    created = UserCreated(username=username, email=f"{username}@example.org", full_name="User of the Bench")
    return Append(
        stream_id=user_id,
        stream_type="User",
        tenant_id=tenant_id,
        expected_version=0,
        events=(created,),
        event_ids=(uuid7(),),
        occurred_at=datetime.now(UTC),
        metadata=METADATA,
        takes=frozenset({Claim("username", created.username), Claim("email", created.email)}),
    )


def _renaming(tenant_id: UUID, user_id: UUID) -> Append:
    return Append(
        stream_id=user_id,
        stream_type="User",
        tenant_id=tenant_id,
        expected_version=1,
        events=(UserUpdated(full_name="Renamed"),),
        event_ids=(uuid7(),),
        occurred_at=datetime.now(UTC),
        metadata=METADATA,
    )
