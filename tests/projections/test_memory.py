"""A rebuild keeps within the memory that it is given, by what the system says of its process."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from app.demo import history
from app.eventstore.bulk import append_bulk
from app.eventstore.store import EventStore
from app.rebuilding import in_this_process
from projections.rebuild import verify
from projections.role_members import ROLE_MEMBERS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the most that a process had cannot be read of it alone"),
]

MIB = 1 << 20
BUDGET = 112 * MIB
"""Of which the modules alone take three quarters."""


async def rebuilt_within(url: str, memory: int) -> tuple[int, list[str]]:
    """The most memory that the process had, and the generation, whether it was compared, and how many rows differed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.memory_process", url, str(memory), stdout=PIPE
    )
    said, _ = await process.communicate()
    resident, *outcome = said.decode().split()
    return int(resident), outcome


async def test_a_rebuild_that_would_take_more_keeps_within_its_budget(url: str, store: EventStore) -> None:
    await append_bulk(store, history(store.codec, users=30_000, events=90_000, seed=1))
    resident, outcome = await rebuilt_within(url, 1024 * MIB)
    assert outcome == ["2", "False", "0"]
    assert resident > BUDGET, "this log would not fit"
    resident, outcome = await rebuilt_within(url, BUDGET)
    assert outcome == ["3", "True", "0"], "the same rows as with memory in plenty"
    assert resident <= BUDGET
    assert (await verify(store, ROLE_MEMBERS, in_this_process(store, BUDGET), sample=200)).count == 0
