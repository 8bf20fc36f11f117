"""Subscriptions over WebSockets: each event once and in order, and an end with a reason for who breaks the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.api import websocket
from projections import rebuilds
from tests.api.conftest import Api, listening, live, serving

pytestmark = pytest.mark.anyio

TOO_MANY = "TOO_MANY_SUBSCRIPTIONS"
EVENTS = "subscription ($filter: EventFilter, $after: Position) { events(filter: $filter, after: $after) { type position } }"


class Client:
    """A client as simple as can be."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        return dict(json.loads(await self.connection.recv()))

    async def subscribe(self, query: str, operation: str = "1", /, **variables: Any) -> None:
        await self.say(id=operation, type="subscribe", payload={"query": query, "variables": variables})

    async def next(self) -> Any:
        """The data of the next answer, which has no errors."""
        heard = await self.hear()
        assert heard["type"] == "next", heard
        assert "errors" not in heard["payload"], heard
        return heard["payload"]["data"]

    async def end(self) -> tuple[int, str]:
        """Code and reason with which the server ends the connection."""
        with suppress(ConnectionClosed):
            async for _ in self.connection:
                pass
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""


@asynccontextmanager
async def connected(url: str, protocol: str | None = "graphql-transport-ws", **more: Any) -> AsyncIterator[Client]:
    subprotocols: Any = None if protocol is None else [protocol]
    async with connect(
        f"{url.replace('http', 'ws', 1)}/graphql", subprotocols=subprotocols, compression=None, **more
    ) as connection:
        yield Client(connection)


@asynccontextmanager
async def acknowledged(url: str, api: Api, authorization: str = "", **more: Any) -> AsyncIterator[Client]:
    async with connected(url, **more) as client:
        payload = {"Authorization": authorization or api.http.headers["authorization"]}
        await client.say(type="connection_init", payload=payload)
        assert await client.hear() == {"type": "connection_ack"}
        yield client


LIFE = "subscription ($id: ID!) { user(id: $id) { fullName version tenant { id } } }"
LOG = "query ($tenant: ID!) { events(filter: { tenantId: $tenant }, order: OLDEST_FIRST) { nodes { type position } } }"


async def test_history_comes_first_and_then_what_is_new_without_gap_or_repeat(api: Api) -> None:
    tenant = await api.tenant()
    for number in range(5):
        await api.user(tenant, f"before{number}")
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe(EVENTS, filter={"tenantId": tenant}, after=0)
        for number in range(5):
            await api.user(tenant, f"since{number}")
        told = [(await client.next())["events"] for _ in range(11)]
    assert told == (await api.ask(LOG, tenant=tenant))["events"]["nodes"]


async def test_without_a_position_only_what_is_new_is_told(api: Api) -> None:
    tenant = await api.tenant()
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe(EVENTS, filter={"tenantId": tenant, "types": ["UserCreated"]})
        await client.say(type="ping", payload={"n": 1})
        assert await client.hear() == {"type": "pong", "payload": {"n": 1}}
        await asyncio.gather(*(api.user(tenant, f"user{number}") for number in range(3)))
        told = [(await client.next())["events"]["type"] for _ in range(3)]
    assert told == ["UserCreated"] * 3


async def test_events_up_to_a_position_end_there(api: Api) -> None:
    tenant = await api.tenant()
    (first,) = (await api.ask(LOG, tenant=tenant))["events"]["nodes"]
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe(EVENTS, filter={"fromPosition": first["position"], "toPosition": first["position"]})
        assert (await client.next())["events"] == first
        assert await client.hear() == {"type": "complete", "id": "1"}


async def test_a_user_is_told_now_and_after_each_change(api: Api) -> None:
    tenant = await api.tenant()
    user = await api.user(tenant)
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe(LIFE, id=user)
        assert (await client.next())["user"] == {"fullName": None, "version": 1, "tenant": {"id": tenant}}
        for name in ("Ann", "Anna"):
            await api.done("updateUserProfile", id=user, fullName=name)
        assert [(await client.next())["user"]["fullName"] for _ in range(2)] == ["Ann", "Anna"]


async def test_the_progress_of_rebuilds_ends_with_them(still: Api) -> None:
    async with listening(still.app) as url, acknowledged(url, still) as client:
        database, users = still.backend.store.database, still.backend.engine.projection("users")
        async with rebuilds.alone(database, ["users"]) as connection:
            await rebuilds.begin(connection, users, "fingerprint", 1, 1)
            await client.subscribe("subscription { rebuildProgress { projection phase } }")
            assert (await client.next())["rebuildProgress"] == {"projection": "users", "phase": "READING"}
            await rebuilds.cancel(database, users)
            assert (await client.next())["rebuildProgress"] == {"projection": "users", "phase": "CANCELLED"}
        assert await client.hear() == {"type": "complete", "id": "1"}


async def test_queries_and_mutations_are_answered_too(api: Api) -> None:
    tenant = await api.tenant()
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe("query ($id: ID!) { tenant(id: $id) { name } }", "q", id=tenant)
        assert (await client.next()) == {"tenant": {"name": "Acme"}}
        assert await client.hear() == {"type": "complete", "id": "q"}
        await client.subscribe(
            'mutation ($id: ID!) { renameTenant(input: { id: $id, name: "Ace" }) { problems { code } } }', id=tenant
        )
        assert (await client.next()) == {"renameTenant": {"problems": []}}


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("subscription { events { ", {}, "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { events { id } user(id: 1) { id } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        (EVENTS, {"filter": {"types": ["Nothing"]}}, "BAD_USER_INPUT"),
        (EVENTS, {"after": -1}, "BAD_USER_INPUT"),
        (LIFE, {"id": "0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b"}, "NOT_FOUND"),
        ('subscription { rebuildProgress(projection: "none") { phase } }', {}, "BAD_USER_INPUT"),
    ],
)
async def test_what_cannot_begin_is_an_error_of_the_operation(api: Api, query: str, variables: dict[str, Any], code: str) -> None:
    async with listening(api.app) as url, acknowledged(url, api) as client:
        await client.subscribe(query, **variables)
        heard = await client.hear()
        assert (heard["type"], heard["id"], heard["payload"][0]["extensions"]["code"]) == ("error", "1", code)


async def test_a_token_for_one_tenant_hears_of_no_other(walls: Api) -> None:
    api = walls
    tenant, other = await api.tenant(), await api.tenant()
    headers = {"authorization": api.bearer("somebody", {"event.read"}, tenant_id=UUID(tenant))}
    async with listening(api.app) as url, acknowledged(url, api, headers["authorization"]) as client:
        await client.subscribe(EVENTS, filter={"tenantId": other})
        assert (await client.hear())["type"] == "error"
        await client.subscribe(EVENTS, "2", after=0)
        assert (await client.next())["events"]["type"] == "TenantCreated"
        await api.user(other, "hidden")
        await api.user(tenant, "shown")
        assert (await client.next())["events"]["type"] == "UserCreated"
        told = await api.ask(LOG, tenant=tenant)
        await client.say(id="2", type="complete")
        await client.subscribe(EVENTS, "3", after=0)
        assert [(await client.next())["events"] for _ in range(2)] == told["events"]["nodes"]
        await client.subscribe("subscription { rebuildProgress { phase } }", "4")
        heard = await client.hear()
        assert heard["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_user_of_another_tenant_cannot_be_followed(walls: Api) -> None:
    api = walls
    tenant, other = await api.tenant(), await api.tenant()
    own, foreign, made_up = await api.user(tenant), await api.user(other), str(uuid4())
    bearer = api.bearer("somebody", {"user.read"}, tenant_id=UUID(tenant))
    async with listening(api.app) as url, acknowledged(url, api, bearer) as client:
        await client.subscribe(LIFE, id=own)
        assert (await client.next())["user"]["tenant"] == {"id": tenant}
        refusals = []
        for operation, id in (("2", foreign), ("3", made_up)):
            await client.subscribe(LIFE, operation, id=id)
            refusals.append((await client.hear())["payload"][0]["message"].replace(id, "…"))
    assert refusals == ["there is no user …"] * 2


async def test_a_connection_ends_with_its_token(url: str) -> None:
    async with serving(url, jwt_leeway=0) as api, listening(api.app) as address:
        soon = datetime.now(UTC) + timedelta(seconds=2)
        bearer = api.bearer("somebody", {"*"}, all_tenants=True, expires_at=soon)
        async with acknowledged(address, api, bearer) as client:
            await client.subscribe(EVENTS)
            code, reason = await client.end()
    assert code == 4403
    assert "valid no more" in reason


INIT = {"type": "connection_init"}
ONCE_MORE = {"id": "1", "type": "subscribe", "payload": {"query": EVENTS}}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["no JSON"], 4400),
        (["[]"], 4400),
        ([{"type": "unheard_of"}], 4400),
        ([{"id": "1", "type": "subscribe", "payload": {"query": 1}}], 4401),
        (["init", {"id": "1", "type": "subscribe", "payload": {"query": 1}}], 4400),
        (["init", {"id": "", "type": "subscribe", "payload": {"query": EVENTS}}], 4400),
        ([{"type": "connection_init", "payload": {"Authorization": "Bearer no.such.token"}}], 4403),
        ([ONCE_MORE], 4401),
        (["init", ONCE_MORE, ONCE_MORE], 4409),
        (["init", INIT], 4429),
    ],
)
async def test_who_breaks_the_protocol_is_told_how(api: Api, messages: list[Any], code: int) -> None:
    async with listening(api.app) as url, connected(url) as client:
        for message in messages:
            if message == "init":
                await client.say(**INIT, payload={"authorization": api.http.headers["authorization"]})
            elif isinstance(message, str):
                await client.connection.send(message)
            else:
                await client.say(**message)
        assert (await client.end())[0] == code


async def test_who_does_not_introduce_themselves_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "INIT_PATIENCE", 0.01)
    async with listening(api.app) as url, connected(url) as client:
        assert (await client.end())[0] == 4408


@pytest.mark.parametrize("protocol", [None, "graphql-ws"])
async def test_the_older_protocol_is_not_spoken(api: Api, protocol: str | None) -> None:
    async with listening(api.app) as url, connected(url, protocol) as client:
        assert client.connection.subprotocol is None
        assert (await client.end())[0] == 4406


async def test_a_page_of_another_site_is_refused(api: Api) -> None:
    async with listening(api.app) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(url, origin="https://elsewhere.example"):
                pass
        assert refused.value.response.status_code == 403
        async with connected(url, origin=url) as client:
            await client.say(type="ping")
            assert await client.hear() == {"type": "pong"}


async def test_a_connection_has_so_many_operations_and_a_process_so_many_subscriptions(url: str) -> None:
    async with serving(url, subscriptions=3, operations_per_websocket=2) as api, listening(api.app) as address:  # noqa: SIM117
        async with acknowledged(address, api) as one, acknowledged(address, api) as other:
            for id in ("1", "2", "3"):
                await one.subscribe(EVENTS, id)
            assert (await one.hear())["payload"][0]["extensions"]["code"] == TOO_MANY
            for id in ("1", "2"):
                await other.subscribe(EVENTS, id)
            heard = await other.hear()
            assert (heard["id"], heard["payload"][0]["extensions"]["code"]) == ("2", TOO_MANY)
            await one.say(id="1", type="complete")
            await one.subscribe("{ head }", "4")
            assert (await one.next()) == {"head": 0}
            async with connected(address), connected(address) as fourth:
                assert (await fourth.end())[0] == 1013


async def test_who_takes_nothing_is_cut_off(url: str) -> None:
    heard, said = asyncio.Queue[dict[str, Any]](), list[dict[str, Any]]()

    async def send(message: Any) -> None:
        said.append(message)
        if '"next"' in message.get("text", ""):
            await asyncio.Event().wait()

    async with serving(url, slow_client_ms=100) as api:
        await api.tenant()
        payload = {"Authorization": api.http.headers["authorization"]}
        heard.put_nowait({"type": "websocket.connect"})
        for message in (
            {"type": "connection_init", "payload": payload},
            {"id": "1", "type": "subscribe", "payload": {"query": EVENTS, "variables": {"after": 0}}},
        ):
            heard.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
        scope = {"type": "websocket", "path": "/graphql", "headers": [], "subprotocols": ["graphql-transport-ws"], "client": None}
        await api.app(scope, heard.get, send)
    assert (said[-1]["type"], said[-1]["code"]) == ("websocket.close", 1013)
    assert said[-1]["reason"].startswith("too slow")


async def test_a_server_that_stops_says_so(api: Api) -> None:
    async with live(api.app) as server, acknowledged(server.address, api) as client:
        await client.subscribe(EVENTS)
        server.should_exit = True
        assert (await client.end())[0] == 1012
