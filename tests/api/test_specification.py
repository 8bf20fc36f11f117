"""The GraphQL over HTTP specification, as others test it: all audits of npm's graphql-http, against a live server."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvicorn
from anyio import run_process

from tests.api.conftest import Api
from tests.test_browser import program

AUDIT = Path(__file__).parents[1] / "node" / "graphql_http.mjs"


@pytest.mark.anyio
async def test_every_audit_is_passed(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(api.app, lifespan="off", log_level="warning"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/graphql"
            audited = await run_process([program("node"), str(AUDIT), url, api.http.headers["authorization"]])
            server.should_exit = True
    assert audited.stdout.decode().splitlines() == ["61 of 61 ok"]
