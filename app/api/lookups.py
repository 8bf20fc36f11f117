"""Lookups by id that many operations make at once, answered by one statement for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

Find = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, T]]]


class Lookups(Generic[T]):
    """Whoever asks while a statement is under way waits for the next one, which asks for all of them.

    An answer is never older than its question: a statement begins after everybody whom it answers has asked. Under load
    one statement serves as many operations as wait, and costs hardly more than for one. Whoever gives up
    waiting does not stop the statement, for others may wait for it; the database's own deadline ends it.
    """

    def __init__(self, find: Find[T]) -> None:
        self._find = find
        self._asked: list[tuple[UUID, asyncio.Future[T | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, id: UUID) -> T | None:
        """The thing with that id; None when there is none. Raises what `find` raises."""
        answer: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._asked.append((id, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        try:
            while asked := [(id, answer) for id, answer in self._asked if not answer.done()]:
                self._asked = []
                try:
                    found = await self._find({id for id, _ in asked})
                except Exception as error:
                    for _, answer in asked:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for id, answer in asked:
                        if not answer.done():
                            answer.set_result(found.get(id))
        finally:
            self._asking = None
