"""Attempts to log in, as an auditor reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.domain.user import USER
from app.domain.user_commands import RecordLogin
from app.execute import Request
from tests.api.conftest import PATIENCE, READ_MODELS, Api

pytestmark = pytest.mark.anyio

LOGIN = "succeeded ipAddress userAgent occurredAt position"


async def attempt(api: Api, user: str, *, succeeded: bool, address: str = "192.0.2.1") -> int:
    """Record an attempt to log in as the user; its position."""
    command = RecordLogin(
        at=datetime.now(UTC),
        password_matches=succeeded,
        ip_address=address,
        user_agent="curl",
        lock_after=100,
        lock_for=timedelta(hours=1),
    )
    request = Request(aggregate=USER, stream_id=UUID(user), command=command, metadata={"actor": "test"})
    (event,) = (await api.backend.executor.execute(request)).events
    api.backend.engine.wake()
    await api.backend.engine.wait_for(READ_MODELS, event.position, PATIENCE)
    return event.position


async def test_attempts_are_listed_by_user_tenant_and_outcome_the_newest_first(api: Api) -> None:
    tenant = await api.tenant()
    ann, bob = await api.user(tenant, "ann"), await api.user(tenant, "bob")
    first = await attempt(api, ann, succeeded=True)
    second = await attempt(api, bob, succeeded=False, address="192.0.2.2")
    third = await attempt(api, ann, succeeded=False)
    document = "query ($filter: LoginFilter) { logins(filter: $filter) { totalCount nodes { position user { username } } } }"

    async def listed(**filter: Any) -> list[tuple[int, str]]:
        logins = (await api.ask(document, filter=filter))["logins"]
        assert logins["totalCount"] == len(logins["nodes"])
        return [(login["position"], login["user"]["username"]) for login in logins["nodes"]]

    assert await listed(tenantId=tenant) == [(third, "ann"), (second, "bob"), (first, "ann")]
    assert await listed(tenantId=tenant, succeeded=False) == [(third, "ann"), (second, "bob")]
    assert await listed(userId=ann, succeeded=True) == [(first, "ann")]
    assert await listed(tenantId=tenant, occurredBefore="2020-01-01T00:00:00Z") == []
    assert len(await listed(tenantId=tenant, occurredAfter="2020-01-01T00:00:00Z")) == 3
    refused = await api.refused(document, filter={"userId": "x"})
    assert (refused["code"], refused["argument"]) == ("BAD_USER_INPUT", "filter.userId")


async def test_a_user_shows_the_attempts_to_log_in_as_them(api: Api) -> None:
    user = await api.user(await api.tenant())
    await attempt(api, await api.user(await api.tenant()), succeeded=True)
    failed = await attempt(api, user, succeeded=False, address="192.0.2.2")
    await attempt(api, user, succeeded=True)
    document = f"""query ($id: ID!, $after: String, $filter: LoginFilter) {{ user(id: $id) {{
        logins(first: 1, after: $after, filter: $filter) {{ nodes {{ id {LOGIN} }} pageInfo {{ hasNextPage endCursor }} }}
    }} }}"""
    newest = (await api.ask(document, id=user))["user"]["logins"]
    assert (newest["nodes"][0]["succeeded"], newest["pageInfo"]["hasNextPage"]) == (True, True)
    (oldest,) = (await api.ask(document, id=user, after=newest["pageInfo"]["endCursor"]))["user"]["logins"]["nodes"]
    event = (await api.ask("query ($id: ID!) { event(id: $id) { occurredAt position } }", id=oldest.pop("id")))["event"]
    assert oldest == {"succeeded": False, "ipAddress": "192.0.2.2", "userAgent": "curl", **event}
    assert oldest["position"] == failed
    (same,) = (await api.ask(document, id=user, filter={"succeeded": False}))["user"]["logins"]["nodes"]
    assert same["position"] == failed


async def test_a_user_shown_at_a_moment_has_the_attempts_until_then(api: Api) -> None:
    user = await api.user(await api.tenant())
    first = await attempt(api, user, succeeded=False)
    await attempt(api, user, succeeded=True)
    document = """query ($id: ID!, $at: Moment, $asOf: AsOf) {
        user(id: $id, at: $at) { logins { nodes { position } } }
        users(filter: { ids: [$id] }, asOf: $asOf) { nodes { logins { totalCount } } }
    }"""
    then = await api.ask(document, id=user, at={"position": first}, asOf={"position": first})
    assert then == {"user": {"logins": {"nodes": [{"position": first}]}}, "users": {"nodes": [{"logins": {"totalCount": 1}}]}}
