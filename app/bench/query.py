"""Reads over HTTP, against the selects that answer them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from functools import partial

from app.bench import limits
from app.bench.load import graphql, rate
from app.bench.report import Line, in_turns, line
from app.bench.scratch import Scratch
from app.bench.served import served
from app.settings import Settings

CONNECTIONS = 16
SECONDS = 2.0
WANTED = 0.2

USER = """query ($id: ID!) { user(id: $id) { id username email fullName status version createdAt } }"""
PAGE = """query ($tenant: ID!) {
    users(first: 50, filter: { tenantId: $tenant }) {
        nodes { id username email fullName status version createdAt }
        pageInfo { hasNextPage endCursor }
    }
}"""
SELECT = "SELECT id, username, email, full_name, status, version, created_at FROM read.users"
SELECT_USER = f"{SELECT} WHERE id = $1"
SELECT_PAGE = f"{SELECT} WHERE tenant_id = $1 AND status <> 'DELETED' ORDER BY created_at, id LIMIT 51"


async def measure(settings: Settings, scratch: Scratch, *, seconds: float = SECONDS) -> AsyncGenerator[Line]:
    """A line for one user by id and one for a page of 50 users, each measured for so many seconds a round."""
    async with served(settings, scratch) as server:
        load = partial(rate, server.url, connections=CONNECTIONS, seconds=seconds)
        selects = partial(limits.point_selects, server.database_url, seconds=seconds / 2)

        user = graphql(server.url, USER)
        measured, limit = await in_turns(
            partial(load, lambda: user(id=random.choice(server.user_ids)), expected=b'"user":{"id":"'),
            partial(selects, SELECT_USER, server.user_ids),
        )
        yield line(f"user(id), 7 fields, {CONNECTIONS} connections", measured, limit, "point selects, one connection", WANTED)

        page = graphql(server.url, PAGE)
        measured, limit = await in_turns(
            partial(load, partial(page, tenant=server.tenant_id), expected=b'"nodes":[{"id":"'),
            partial(selects, SELECT_PAGE, [server.tenant_id]),
        )
        yield line(f"users(first: 50), 7 fields, {CONNECTIONS} connections", measured, limit, "the same select, one connection")
