"""One statement answers all who ask at once, and never with something older than their question."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import UUID, uuid4

import pytest

from app.api.lookups import Lookups

pytestmark = pytest.mark.anyio

ANN, BOB, CAT = uuid4(), uuid4(), uuid4()


class Table:
    """What is looked up, one statement at a time; each ends when the test says so."""

    def __init__(self) -> None:
        self.rows = {ANN: "ann", BOB: "bob"}
        self.statements: list[set[UUID]] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.failure: Exception | None = None

    async def find(self, ids: Collection[UUID]) -> dict[UUID, str]:
        self.statements.append(set(ids))
        found = {id: self.rows[id] for id in ids if id in self.rows}
        self.begun.set()
        await self.may_end.wait()
        if self.failure:
            raise self.failure
        return found


async def test_those_who_ask_at_once_share_a_statement() -> None:
    table = Table()
    table.may_end.set()
    lookups = Lookups(table.find)
    assert await asyncio.gather(*map(lookups.find, (ANN, BOB, CAT, ANN))) == ["ann", "bob", None, "ann"]
    assert table.statements == [{ANN, BOB, CAT}]


async def test_who_asks_while_a_statement_runs_is_answered_by_a_later_one() -> None:
    table = Table()
    lookups = Lookups(table.find)
    early = asyncio.create_task(lookups.find(ANN))
    await table.begun.wait()
    table.rows[ANN] = "anna"
    late = [asyncio.create_task(lookups.find(id)) for id in (ANN, BOB)]
    table.may_end.set()
    assert await asyncio.gather(early, *late) == ["ann", "anna", "bob"]
    assert table.statements == [{ANN}, {ANN, BOB}]


async def test_a_failure_reaches_all_who_waited_and_nobody_after_them() -> None:
    table = Table()
    gone = table.failure = ConnectionError("gone")
    table.may_end.set()
    lookups = Lookups(table.find)
    answers = tuple(await asyncio.gather(lookups.find(ANN), lookups.find(BOB), return_exceptions=True))
    assert answers == (gone, gone)
    table.failure = None
    assert await lookups.find(ANN) == "ann"


async def test_who_gave_up_is_not_asked_for_and_does_not_stop_the_others() -> None:
    table = Table()
    lookups = Lookups(table.find)
    first = asyncio.create_task(lookups.find(ANN))
    await table.begun.wait()
    gone, staying = (asyncio.create_task(lookups.find(id)) for id in (CAT, BOB))
    await asyncio.sleep(0)
    for each in (first, gone):
        each.cancel()
    table.may_end.set()
    assert await staying == "bob"
    assert table.statements == [{ANN}, {BOB}]
