"""When things go wrong: what the client is told, what the log is told, and what works again afterwards."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import pytest

from app.embedded import running
from app.eventstore.migrate import migrate
from tests.api.conftest import Api, serving
from tests.conftest import server_folder
from tests.eventstore.locks import waiting

pytestmark = pytest.mark.anyio

ACCEPT = {"accept": "application/graphql-response+json"}


async def test_a_request_that_takes_too_long_is_ended_down_to_the_database(still: Api, url: str) -> None:
    async with serving(url, run_projections=False, deadline_ms=4000) as api:
        database = api.backend.store.database
        async with database.connection() as other, other.transaction():
            await other.execute("LOCK read.users IN ACCESS EXCLUSIVE MODE")
            for document in ("{ users { nodes { id } } }", "{ head users { totalCount nodes { id } } }"):
                answer = await api.http.post("/graphql", json={"query": document}, headers=ACCEPT)
                (error,) = answer.json()["errors"]
                assert (answer.status_code, error["extensions"]["code"]) == (504, "DEADLINE_EXCEEDED")
                assert "data" not in answer.json()
            assert await waiting(database, 0) == []
        assert await still.ask("{ users { nodes { id } } }") == {"users": {"nodes": []}}


async def test_a_fault_is_logged_whole_and_hidden_from_the_client(still: Api, caplog: pytest.LogCaptureFixture) -> None:
    await still.backend.store.database.fetch("ALTER VIEW read.tenants RENAME TO lost")
    body = {"query": "{ head tenants { nodes { id } } }"}
    with caplog.at_level(logging.ERROR):
        answer = await still.http.post("/graphql", json=body, headers={"x-request-id": "request 8"})
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "requestId": "request 8"}
    assert error["path"] == ["tenants"]
    assert "read.tenants" not in answer.text
    assert answer.json()["data"] is None
    (record,) = caplog.records
    assert "request 8" in record.getMessage()
    assert record.exc_info
    assert 'relation "read.tenants" does not exist' in str(record.exc_info[1])


async def test_a_fault_in_one_field_leaves_the_others(still: Api, caplog: pytest.LogCaptureFixture) -> None:
    id = await still.tenant()
    await still.backend.store.database.fetch("ALTER VIEW read.tenants RENAME TO lost")
    with caplog.at_level(logging.CRITICAL):
        answer = await still.answer("query ($id: ID!) { tenant(id: $id) { name } viewer { name } }", id=id)
    assert answer["data"] == {"tenant": None, "viewer": {"name": "operator"}}


async def test_the_database_goes_and_comes_back() -> None:
    with server_folder() as folder, ExitStack() as up:
        url = up.enter_context(running(folder))
        await migrate(url)
        async with serving(url) as api:
            tenant = await api.tenant()
            up.close()
            for document in (
                "{ head }",
                "{ head users { totalCount } }",
                "query ($id: ID!) { tenant(id: $id) { name } }",
                'mutation ($id: ID!) { renameTenant(input: { id: $id, name: "B" }) { position } }',
            ):
                assert (await api.refused(document, id=tenant))["code"] == "DATABASE_UNAVAILABLE"
            ready = await api.http.get("/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
            assert (await api.http.get("/health")).json() == {"status": "alive"}
            assert up.enter_context(running(folder)) == url
            assert (await api.ask("query ($id: ID!) { tenant(id: $id) { name version } }", id=tenant))["tenant"] == {
                "name": "Acme",
                "version": 1,
            }
            assert (await api.done("renameTenant", "version", id=tenant, name="C"))["version"] == 2
