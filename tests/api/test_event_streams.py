"""Subscriptions over server-sent events, and both ways as others' clients go them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from anyio import run_process

from tests.api.conftest import Api, listening, live, serving
from tests.test_browser import program

pytestmark = pytest.mark.anyio

CLIENTS = Path(__file__).parents[1] / "node" / "subscriptions.mjs"
EVENTS = "subscription ($tenant: ID!, $after: Position) { events(filter: { tenantId: $tenant }, after: $after) { position } }"
LOG = "query ($tenant: ID!) { events(filter: { tenantId: $tenant }, order: OLDEST_FIRST, first: 100) { nodes { position } } }"


@asynccontextmanager
async def streamed(api: Api, url: str, query: str, headers: dict[str, str] | None = None, **variables: Any) -> AsyncIterator[Any]:
    """The answer, as its lines come in."""
    async with httpx.AsyncClient(timeout=None, headers={**api.http.headers, "accept": "text/event-stream"}) as http:
        body = {"query": query, "variables": variables}
        async with http.stream("POST", f"{url}/graphql", json=body, headers=headers) as answer:
            yield answer


async def told(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """Id, name and data of each event."""
    id = name = ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        match field:
            case "id":
                id = value
            case "event":
                name = value
            case "data" | "data:":
                yield id, name, json.loads(value) if value else None
            case _:
                pass


async def positions(api: Api, tenant: str) -> list[int]:
    return [node["position"] for node in (await api.ask(LOG, tenant=tenant))["events"]["nodes"]]


async def test_each_event_has_its_position_for_an_id_and_the_last_one_seen_resumes(api: Api) -> None:
    tenant = await api.tenant()
    await asyncio.gather(*(api.user(tenant, f"user{number}") for number in range(3)))
    log = await positions(api, tenant)
    async with listening(api.app) as url:
        async with streamed(api, url, EVENTS, tenant=tenant, after=0) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            events = told(answer)
            seen = [await anext(events) for _ in range(2)]
        async with streamed(api, url, EVENTS, {"last-event-id": seen[-1][0]}, tenant=tenant, after=0) as answer:
            events = told(answer)
            seen += [await anext(events) for _ in range(2)]
            await api.user(tenant, "new")
            seen.append(await anext(events))
    log = await positions(api, tenant)
    assert [int(id) for id, _, _ in seen] == log
    assert [data["data"]["events"]["position"] for _, _, data in seen] == log
    assert {name for _, name, _ in seen} == {"next"}


async def test_a_query_is_a_stream_of_one_answer(api: Api) -> None:
    async with listening(api.app) as url, streamed(api, url, "{ viewer { name } }") as answer:
        (_, name, data), (_, complete, nothing) = [event async for event in told(answer)]
    assert (name, data["data"]) == ("next", {"viewer": {"name": "operator"}})
    assert (complete, nothing) == ("complete", None)


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("subscription { nothing }", {}, 400, "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { events(after: -1) { id } }", {}, 400, "BAD_USER_INPUT"),
        ("subscription { events { id } }", {"last-event-id": "x"}, 400, "BAD_USER_INPUT"),
        ("subscription { events { id } }", {"authorization": "Bearer no.such.token"}, 401, "UNAUTHENTICATED"),
        ("subscription { events { id } }", {"accept": "application/json"}, 200, "BAD_REQUEST"),
    ],
)
async def test_what_cannot_begin_is_answered_without_a_stream(
    api: Api, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with listening(api.app) as url, streamed(api, url, query, headers) as answer:
        body = json.loads(await answer.aread())
    assert (answer.status_code, body["errors"][0]["extensions"]["code"]) == (status, code)


async def test_what_fails_later_is_told_in_the_stream(api: Api) -> None:
    query = 'subscription { user(id: "0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b") { id } }'
    async with listening(api.app) as url, streamed(api, url, query) as answer:
        (_, _, data), (_, complete, _) = [event async for event in told(answer)]
    assert data["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert complete == "complete"


async def test_a_stream_ends_with_its_token(url: str) -> None:
    async with serving(url, jwt_leeway=0) as api, listening(api.app) as address:
        soon = datetime.now(UTC) + timedelta(seconds=2)
        headers = {"authorization": api.bearer("somebody", {"*"}, all_tenants=True, expires_at=soon)}
        async with streamed(api, address, "subscription { events { id } }", headers) as answer:
            (_, _, data), (_, complete, _) = [event async for event in told(answer)]
    assert data["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert complete == "complete"


async def test_a_server_that_stops_ends_its_streams(api: Api) -> None:
    async with live(api.app) as server, streamed(api, server.address, "subscription { events { id } }") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ":"
        server.should_exit = True
        assert [line async for line in lines if line not in ("", ":")] == []


async def test_clients_of_others_lose_nothing_and_get_nothing_twice_whenever_the_wire_is_cut(api: Api) -> None:
    tenant = await api.tenant()
    names = (f"user{number}" for number in range(40))
    async with listening(api.app) as url, asyncio.TaskGroup() as tasks:
        arguments = [str(urlsplit(url).port), api.http.headers["authorization"], tenant, "41"]
        clients = tasks.create_task(run_process([program("node"), str(CLIENTS), *arguments]))
        for name in names:
            await api.user(tenant, name)
        got = json.loads((await clients).stdout)
    log = await positions(api, tenant)
    for positions_told in (got["ws"]["positions"], got["sse"]["positions"]):
        assert positions_told == log
    assert (got["ws"]["cuts"], got["sse"]["cuts"]) == (5, 5)
