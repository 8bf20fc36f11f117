"""Writes over HTTP, against INSERTs of one row each by as many connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from itertools import count

from app.bench import limits
from app.bench.load import graphql, load
from app.bench.report import SLICES, Line, Slices, in_slices, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, served
from app.settings import Settings

CONNECTIONS = 32
WANTED = 1_000 / 16_000

CREATE = """mutation ($input: CreateUserInput!) {
    createUser(input: $input) { user { id username } version position problems { code message } }
}"""


async def measure(settings: Settings, scratch: Scratch, *, slices: Slices = SLICES, events: int = EVENTS) -> AsyncGenerator[Line]:
    """A line for createUser, without a password, whose hash would cost more than all the rest."""
    limit_url = await scratch.fresh()
    numbers = count(1)
    async with served(settings, scratch, events) as server:
        create = graphql(server.url, CREATE)

        def request() -> bytes:
            username = f"bench-{next(numbers)}"
            return create(input={"tenantId": server.tenant_id, "username": username, "email": f"{username}@example.org"})

        creations = partial(load, server.url, request, expected=b'"problems":[]', connections=CONNECTIONS)
        async with limits.one_row_inserts(limit_url, CONNECTIONS) as inserts:
            measured, limit = await in_slices(slices, creations, inserts, at_once=CONNECTIONS)
    yield line(f"createUser, {CONNECTIONS} connections", measured, limit, "one-row INSERT commits, as many connections", WANTED)
