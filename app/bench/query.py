"""Reads over HTTP, against the selects that answer them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from functools import partial

from app.bench import limits
from app.bench.load import graphql, load
from app.bench.report import SLICES, Line, Slices, in_slices, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, served
from app.settings import Settings

CONNECTIONS = 16
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


async def measure(settings: Settings, scratch: Scratch, *, slices: Slices = SLICES, events: int = EVENTS) -> AsyncGenerator[Line]:
    """A line for one user by id and one for a page of 50 users."""
    async with served(settings, scratch, events) as server:
        ask = partial(load, server.url, connections=CONNECTIONS)

        user = graphql(server.url, USER)
        one_of_many = partial(ask, lambda: user(id=random.choice(server.user_ids)), expected=b'"user":{"id":"')
        async with limits.point_selects(server.database_url, SELECT_USER, server.user_ids) as selects:
            measured, limit = await in_slices(slices, one_of_many, selects, at_once=CONNECTIONS)
        yield line(f"user(id), 7 fields, {CONNECTIONS} connections", measured, limit, "point selects, one connection", WANTED)

        page = partial(ask, partial(graphql(server.url, PAGE), tenant=server.tenant_id), expected=b'"nodes":[{"id":"')
        async with limits.point_selects(server.database_url, SELECT_PAGE, [server.tenant_id]) as selects:
            measured, limit = await in_slices(slices, page, selects, at_once=CONNECTIONS)
        yield line(f"users(first: 50), 7 fields, {CONNECTIONS} connections", measured, limit, "the same select, one connection")
