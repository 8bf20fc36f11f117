"""The GraphQL over HTTP specification, as others test it: all audits of npm's graphql-http, against a live server."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import run_process

from tests.api.conftest import Api, listening
from tests.test_browser import program

AUDIT = Path(__file__).parents[1] / "node" / "graphql_http.mjs"


@pytest.mark.anyio
async def test_every_audit_is_passed(api: Api) -> None:
    async with listening(api.app) as address:
        audited = await run_process([program("node"), str(AUDIT), f"{address}/graphql", api.http.headers["authorization"]])
    assert audited.stdout.decode().splitlines() == ["61 of 61 ok"]
