"""Reads over HTTP, against the selects that answer them."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from app.bench import limits
from app.bench.load import graphql, load
from app.bench.report import SLICES, Line, Slices, in_slices, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, served, serving
from app.security.tokens import Claims
from app.settings import Settings
from app.wiring import tokens_of

CONNECTIONS = 16
WANTED = 0.2
WANTED_OF_GUARDED = 0.85

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
    """A line for one user by id, one for the same with a token, and one for a page of 50 users."""
    async with served(settings, scratch, events) as server:
        ask = partial(load, server.url, connections=CONNECTIONS)

        user = graphql(server.url, USER)
        one_of_many = partial(ask, lambda: user(id=random.choice(server.user_ids)), expected=b'"user":{"id":"')
        async with limits.point_selects(server.database_url, SELECT_USER, server.user_ids) as selects:
            measured, limit = await in_slices(slices, one_of_many, selects, at_once=CONNECTIONS)
        yield line(f"user(id), 7 fields, {CONNECTIONS} connections", measured, limit, "point selects, one connection", WANTED)

        token = await tenants_token(settings, server.tenant_id)
        with serving(settings, server.database_url, authentication="required") as url:
            guarded = graphql(url, USER, token)
            known = partial(
                load,
                url,
                lambda: guarded(id=random.choice(server.user_ids)),
                expected=b'"user":',
                connections=CONNECTIONS,
            )
            measured, limit = await in_slices(slices, known, one_of_many, at_once=CONNECTIONS)
        work = f"user(id), 7 fields, {CONNECTIONS} connections, a token for one tenant"
        yield line(work, measured, limit, "the same without authentication", WANTED_OF_GUARDED)

        page = partial(ask, partial(graphql(server.url, PAGE), tenant=server.tenant_id), expected=b'"nodes":[{"id":"')
        async with limits.point_selects(server.database_url, SELECT_PAGE, [server.tenant_id]) as selects:
            measured, limit = await in_slices(slices, page, selects, at_once=CONNECTIONS)
        yield line(f"users(first: 50), 7 fields, {CONNECTIONS} connections", measured, limit, "the same select, one connection")


async def tenants_token(settings: Settings, tenant_id: UUID) -> str:
    """A token that permits reading the tenant's users."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    permitted = Claims(subject="bench", tenant_id=tenant_id, permissions=frozenset({"user.read"}), expires_at=soon)
    return (await tokens_of(settings)).sign(permitted)
