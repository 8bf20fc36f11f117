"""The whole service behind HTTP, on a real database: one that a session's tests share, and fresh ones for those that need it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import uvicorn
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolConnectionProxy
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.api.context import Backend
from app.api.site import ENCODED
from app.main import create_app
from app.protocols import HttpProtocol, Limits, WebSocketProtocol
from app.security.tokens import Claims
from app.settings import Settings
from projections import PROJECTIONS
from tests.conftest import administer, database_url

READ_MODELS = tuple(projection.name for projection in PROJECTIONS)
PATIENCE = 120
"""Seconds."""
PATIENT = Limits(connections=1000, head=PATIENCE, patience=PATIENCE)

PROBLEMS = """problems {
    __typename code message path
    ... on Conflict { expectedVersion actualVersion }
    ... on AlreadyTaken { field value }
}"""


@dataclass
class Api:
    """A client of the service, as a front end is one, and what is behind the service."""

    http: httpx.AsyncClient
    app: Starlette
    projecting: bool
    """The read tables follow by themselves; otherwise a test moves them."""

    @property
    def backend(self) -> Backend:
        backend: Backend = self.app.state.backend
        return backend

    def bearer(self, subject: str, permissions: Collection[str] | None = None, **claims: Any) -> str:
        """The header Authorization of somebody whose token says so."""
        given = {"expires_at": datetime.now(UTC) + timedelta(hours=1), **claims}
        allowed = None if permissions is None else frozenset(permissions)
        return f"Bearer {self.backend.tokens.sign(Claims(subject=subject, permissions=allowed, **given))}"

    async def answer(self, document: str, headers: Mapping[str, str] | None = None, **variables: Any) -> dict[str, Any]:
        """The whole answer."""
        body = {"query": document, "variables": variables}
        return dict((await self.http.post("/graphql", json=body, headers=headers)).json())

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        answer = await self.answer(document, **variables)
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"])

    async def refused(self, document: str, **variables: Any) -> dict[str, Any]:
        """The only error of an answer, with its extensions."""
        (error,) = (await self.answer(document, **variables))["errors"]
        return {"message": error["message"], "path": error.get("path"), **error["extensions"]}

    async def change(self, mutation: str, fields: str = "position", **input: Any) -> dict[str, Any]:
        """The payload of a mutation, with its problems."""
        kind = mutation[0].upper() + mutation[1:]
        document = f"mutation ($input: {kind}Input!) {{ {mutation}(input: $input) {{ {fields} {PROBLEMS} }} }}"
        return dict((await self.ask(document, input=input))[mutation])

    async def done(self, mutation: str, fields: str = "position", **input: Any) -> dict[str, Any]:
        """The payload of a mutation that had no problem; later reads see what it did."""
        payload = await self.change(mutation, f"{fields} at: position", **input)
        assert payload["problems"] == []
        position = payload.pop("at")
        if self.projecting:
            await self.backend.engine.wait_for(READ_MODELS, position, PATIENCE)
        else:
            await self.backend.engine.catch_up()
        return payload

    async def problem(self, mutation: str, **input: Any) -> dict[str, Any]:
        """The only problem of a mutation."""
        (problem,) = (await self.change(mutation, **input))["problems"]
        return dict(problem)

    async def counting(self, document: str, **variables: Any) -> tuple[dict[str, Any], list[str]]:
        """The answer, and the statements that it took. For a service whose read tables do not move meanwhile."""
        answer, logged = await self.logged(document, **variables)
        return answer, [each.query for each in logged]

    async def logged(
        self, document: str, headers: Mapping[str, str] | None = None, **variables: Any
    ) -> tuple[dict[str, Any], list[LoggedQuery]]:
        """The same, with the statements' values."""
        statements: list[LoggedQuery] = []
        async with self._connections() as connections:
            for connection in connections:
                connection.add_query_logger(statements.append)
        answer = await self.answer(document, headers, **variables)
        async with self._connections() as connections:
            for connection in connections:
                connection.remove_query_logger(statements.append)
        return answer, statements

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[list[PoolConnectionProxy]]:
        """All that the pool may have."""
        pool = self.backend.store.database.pool
        async with AsyncExitStack() as held:
            yield [await held.enter_async_context(pool.acquire()) for _ in range(pool.get_max_size())]

    async def tenant(self, name: str = "Acme") -> str:
        """The id of a new tenant."""
        return str((await self.done("createTenant", "tenant { id }", name=name))["tenant"]["id"])

    async def role(self, tenant: str, name: str = "admin", *permissions: str) -> str:
        """The id of a new role."""
        payload = await self.done("defineRole", "role { id }", tenantId=tenant, name=name, permissions=list(permissions))
        return str(payload["role"]["id"])

    async def user(self, tenant: str, username: str = "ann", **input: Any) -> str:
        """The id of a new user."""
        new = {"tenantId": tenant, "username": username, "email": f"{username}@example.com", **input}
        return str((await self.done("createUser", "user { id }", **new))["user"]["id"])


@asynccontextmanager
async def serving(url: str, *, run_projections: bool = True, **settings: Any) -> AsyncIterator[Api]:
    """The service on that database, as patient as a slow machine needs it unless a test is about that."""
    patient: dict[str, Any] = {
        "_env_file": None,
        "deadline_ms": 1000 * PATIENCE,
        "wait_ms": 1000 * PATIENCE,
        "login_failure_ms": 0,
    }
    with TemporaryDirectory() as folder:  # for its own key
        own = Settings(**{**patient, "data_dir": Path(folder), **settings})
        app = create_app(own, url, run_projections=run_projections)
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 1234))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://hindsight") as http:
            api = Api(http, app, run_projections)
            http.headers["authorization"] = api.bearer("operator", {"*"}, all_tenants=True)
            yield api


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """The address of a real server before a service that is running already: for clients that are programs of their own."""
    async with live(app) as server:
        yield server.address


class Server(uvicorn.Server):
    """A real server, and where it answers."""

    address = ""


@asynccontextmanager
async def live(app: ASGIApp, limits: Limits = PATIENT) -> AsyncIterator[Server]:
    """A server with the protocols that `hindsight serve` uses."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="error",
        http=partial(HttpProtocol, limits=limits, headers=ENCODED),  # type: ignore[arg-type]  # it makes one
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
    )
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as at:
        server.address = f"http://127.0.0.1:{at.getsockname()[1]}"
        served = asyncio.create_task(server.serve(sockets=[at]))
        try:
            yield server
        finally:
            server.should_exit = True
            await served


@pytest.fixture(scope="session")
def shared_url(postgres: str, template: str) -> Iterator[str]:
    asyncio.run(administer(postgres, f"CREATE DATABASE shared TEMPLATE {template} STRATEGY file_copy"))
    yield database_url(postgres, "shared")
    asyncio.run(administer(postgres, "DROP DATABASE shared WITH (FORCE)"))


@pytest.fixture(scope="session")
async def api(shared_url: str) -> AsyncIterator[Api]:
    """The service that tests share: each makes a tenant of its own."""
    async with serving(shared_url) as api:
        yield api


@pytest.fixture(scope="module", params=[False, True], ids=["one wall", "two walls"])
async def walls(shared_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The service with and without row-level security behind the narrowing of statements."""
    async with serving(shared_url, row_security=request.param) as api:
        yield api


@pytest.fixture
async def still(url: str) -> AsyncIterator[Api]:
    """A service of its own for one test, whose read tables move only after `done`."""
    async with serving(url, run_projections=False) as api:
        await api.backend.engine.prepare()
        await api.backend.engine.catch_up()
        yield api
