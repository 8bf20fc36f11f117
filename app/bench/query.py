"""Reads over HTTP, against the selects that answer them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from app.bench import limits
from app.bench.load import graphql, load
from app.bench.report import SLICES, Line, Slices, Timed, in_slices, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, served, started
from app.security.tokens import Claims
from app.settings import Settings
from app.wiring import tokens_of

CONNECTIONS = 16
WORK = f"7 fields, {CONNECTIONS} connections"
WANTED = 0.25
WANTED_OF_GUARDED = 0.85
WANTED_OF_CHECKED = 0.85
WANTED_OF_PAGE = 0.25
"""Half of what PostGraphile 5 made of the same select, measured in one run with it on the same database: 0.49."""
NEVER_REACHED = 1_000_000
"""Requests a second."""

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
    """Lines for one user by id, for what checks and a token cost of it, and for a page of 50 users."""
    async with served(settings, scratch, events) as server:
        user, page = graphql(server.url, USER), graphql(server.url, PAGE)

        def users(url: str, request: Callable[..., bytes] = user, *, expected: bytes = b'"user":{"id":"') -> Timed:
            return partial(
                load, url, lambda: request(id=random.choice(server.user_ids)), expected=expected, connections=CONNECTIONS
            )

        async with limits.point_selects(server.database_url, SELECT_USER, server.user_ids) as selects:
            measured, limit = await in_slices(slices, users(server.url), selects, at_once=CONNECTIONS)
        yield line(f"user(id), {WORK}", measured, limit, "point selects, one connection", WANTED)

        with (
            started(settings, server.database_url, rate_limit=NEVER_REACHED) as (checked, _),
            started(settings, server.database_url, program="app.bench.unchecked") as (unchecked, _),
        ):
            measured, limit = await in_slices(slices, users(checked), users(unchecked), at_once=CONNECTIONS)
        yield line(f"user(id), {WORK}, limits and checks", measured, limit, "the same without", WANTED_OF_CHECKED)

        token = await tenants_token(settings, server.tenant_id)
        with started(settings, server.database_url, authentication="required") as (url, _):
            known = users(url, graphql(url, USER, token), expected=b'"user":')
            measured, limit = await in_slices(slices, known, users(server.url), at_once=CONNECTIONS)
        work = f"user(id), {WORK}, a token for one tenant"
        yield line(work, measured, limit, "the same without authentication", WANTED_OF_GUARDED)

        pages = partial(
            load, server.url, partial(page, tenant=server.tenant_id), expected=b'"nodes":[{"id":"', connections=CONNECTIONS
        )
        async with limits.point_selects(server.database_url, SELECT_PAGE, [server.tenant_id]) as selects:
            measured, limit = await in_slices(slices, pages, selects, at_once=CONNECTIONS)
        yield line(f"users(first: 50), {WORK}", measured, limit, "the same select, one connection", WANTED_OF_PAGE)


async def tenants_token(settings: Settings, tenant_id: UUID) -> str:
    """A token that permits reading the tenant's users."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    permitted = Claims(subject="bench", tenant_id=tenant_id, permissions=frozenset({"user.read"}), expires_at=soon)
    return (await tokens_of(settings)).sign(permitted)
