"""Clients that leave, send half of what they announce or do not take their answer: nothing goes on for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from starlette.types import Message, Scope

from app.eventstore.database import Database
from tests.api.conftest import Api, live, serving
from tests.conftest import PATIENCE
from tests.eventstore.locks import WAITING, waiting

pytestmark = pytest.mark.anyio

BODY = b'{"query": "{ users { nodes { id } } }"}'


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[int]:
    """Yields the port at which the service answers on the network."""
    async with live(api.app) as server:
        yield urlsplit(server.address).port or 0


def request(api: Api, length: int = len(BODY)) -> bytes:
    """A request for the users, with so long a body announced."""
    lines = ("POST /graphql HTTP/1.1", "host: hindsight", "content-type: application/json", f"content-length: {length}")
    return "\r\n".join([*lines, f"authorization: {api.http.headers['authorization']}", "", ""]).encode() + BODY


async def nobody_waits(database: Database) -> None:
    """Returns as soon as no session waits for a lock."""
    async with asyncio.timeout(PATIENCE):
        while await database.fetch(WAITING):
            pass


async def test_a_client_that_leaves_ends_its_query_in_the_database(still: Api) -> None:
    database = still.backend.store.database
    async with listening(still) as port, database.connection() as other, other.transaction():
        await other.execute("LOCK read.users IN ACCESS EXCLUSIVE MODE")
        _, client = await asyncio.open_connection("127.0.0.1", port)
        client.write(request(still))
        assert await waiting(database)
        client.close()
        await nobody_waits(database)
    assert await still.ask("{ users { nodes { id } } }") == {"users": {"nodes": []}}


async def test_half_a_body_is_waited_for_until_the_deadline(url: str) -> None:
    async with serving(url, run_projections=False, deadline_ms=500) as api, listening(api) as port:
        answer, client = await asyncio.open_connection("127.0.0.1", port)
        client.write(request(api, 2 * len(BODY)))
        assert (await answer.readline()).startswith(b"HTTP/1.1 408 ")
        assert b"DEADLINE_EXCEEDED" in await answer.readuntil(b"DEADLINE_EXCEEDED")
        client.close()


async def test_a_client_that_does_not_take_its_answer_is_left(url: str) -> None:
    """It has taken the head and as much as waits in between; then it takes nothing more."""
    async with serving(url, run_projections=False, deadline_ms=500) as api:
        document = (
            '{"query": "{ __schema { types { name description fields { name description args { name description } } } } }"}'
        )
        headers = [(b"content-type", b"application/json"), (b"authorization", api.http.headers["authorization"].encode())]
        scope: Scope = {"type": "http", "method": "POST", "path": "/graphql", "headers": headers, "client": None}
        taken: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": document.encode()}

        async def send(message: Message) -> None:
            if len(taken) == 2:
                await asyncio.get_running_loop().create_future()
            taken.append(message)

        async with asyncio.timeout(PATIENCE):
            await api.app(scope, receive, send)
    assert [message["type"] for message in taken] == ["http.response.start", "http.response.body"]
    assert taken[1]["more_body"]
