"""Who looked at whose history is recorded, where it shall be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

HISTORY = "query ($id: ID!) { user(id: $id) { username history { totalCount } blame { field } } }"
RECORD = """query ($filter: RecordedReadFilter, $first: Int, $after: String) {
    recordedReads(filter: $filter, first: $first, after: $after) {
        totalCount nodes { reader tenantId fields subjects ipAddress } pageInfo { endCursor hasNextPage }
    }
}"""


@pytest.fixture
async def watched(url: str) -> AsyncIterator[Api]:
    async with serving(url, audit_reads=True) as api:
        yield api


async def recorded(api: Api, **filter: Any) -> list[dict[str, Any]]:
    headers = {"authorization": api.bearer("auditor", {"audit.read"}, all_tenants=True)}
    nodes: list[dict[str, Any]] = (await api.answer(RECORD, headers, filter=filter))["data"]["recordedReads"]["nodes"]
    return nodes


async def test_who_looks_at_a_history_is_recorded_and_who_only_looks_at_a_user_is_not(watched: Api) -> None:
    tenant = await watched.tenant()
    ann = await watched.user(tenant, "ann")
    headers = {"authorization": watched.bearer("admin", {"event.read"}, tenant_id=UUID(tenant))}
    await watched.answer("query ($id: ID!) { user(id: $id) { username } users { totalCount } }", headers, id=ann)
    assert await recorded(watched, subject=ann) == []
    await watched.answer(HISTORY, headers, id=ann)
    await watched.answer(f'{{ events(filter: {{ streamId: "{ann}" }}) {{ totalCount }} }}', headers)
    await watched.http.get(f"/events/user/{ann}/replay", headers=headers)
    common = {"reader": "admin", "tenantId": tenant, "subjects": [ann], "ipAddress": "192.0.2.7"}
    assert await recorded(watched, subject=ann) == [
        {**common, "fields": ["User.replay"]},
        {**common, "fields": ["events"]},
        {**common, "fields": ["User.history", "User.blame"]},
    ]


async def test_what_is_looked_at_across_tenants_is_recorded_all(watched: Api) -> None:
    tenant = await watched.tenant()
    ann = await watched.user(tenant, "ann")
    headers = {"authorization": watched.bearer("support", {"user.read"}, all_tenants=True)}
    await watched.answer("query ($id: ID!) { user(id: $id) { username } }", headers, id=ann)
    assert await recorded(watched, reader="support") == [
        {"reader": "support", "tenantId": None, "fields": ["user"], "subjects": [ann], "ipAddress": "192.0.2.7"}
    ]


async def test_what_is_refused_was_not_looked_at(watched: Api) -> None:
    tenant = await watched.tenant()
    headers = {"authorization": watched.bearer("curious", {"user.read"}, tenant_id=UUID(tenant))}
    assert "errors" in await watched.answer(HISTORY, headers, id=tenant)
    assert await recorded(watched, reader="curious") == []


async def test_the_record_comes_in_pages_and_never_changes(watched: Api) -> None:
    headers = {"authorization": watched.bearer("support", {"event.read"}, all_tenants=True)}
    for _ in range(3):
        await watched.answer("{ events { totalCount } }", headers)
    watched.http.headers["authorization"] = watched.bearer("auditor", {"audit.read"}, all_tenants=True)
    first = (await watched.ask(RECORD, first=2))["recordedReads"]
    rest = (await watched.ask(RECORD, first=2, after=first["pageInfo"]["endCursor"]))["recordedReads"]
    assert (first["totalCount"], len(first["nodes"]), len(rest["nodes"])) == (3, 2, 1)
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
    for change in ("UPDATE es.recorded_reads SET reader = 'x'", "DELETE FROM es.recorded_reads", "TRUNCATE es.recorded_reads"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await watched.backend.store.database.fetch(change)


async def test_nothing_is_recorded_unless_it_shall_be(api: Api) -> None:
    await api.ask("{ events { totalCount } }")
    assert await recorded(api) == []
