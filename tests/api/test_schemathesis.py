"""Requests made up from the schema, right ones and wrong ones, by Schemathesis: none may end in a failure of the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from anyio import run_process

from tests.api.conftest import listening, serving
from tests.test_browser import ROOT

HOOKS = "tests.api.schemathesis_hooks"


@pytest.mark.anyio
@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.long)])
async def test_no_request_makes_the_server_fail(url: str, examples: int, tmp_path: Path) -> None:
    async with serving(url) as api, listening(api.app) as address:
        tenant = await api.tenant()
        role = await api.role(tenant, "keeper", "lamp.light")
        user = await api.user(tenant, "ida", roleIds=[role])
        event = (await api.ask("{ events(first: 1) { nodes { id } } }"))["events"]["nodes"][0]["id"]
        ids = " ".join([tenant, role, user, event])
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/graphql"]
        options = {
            "--header": f"Authorization: {api.http.headers['authorization']}",
            "--checks": "not_a_server_error,nothing_unforeseen",
            "--max-examples": str(examples),
            "--workers": "2",
            "--warnings": "off",
            "--generation-database": "none",
        }
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": HOOKS,
            "PYTHONPATH": str(ROOT),
            "HINDSIGHT_TEST_IDS": ids,
        }
        arguments = [each for option in options.items() for each in option]
        done = await run_process([*command, *arguments], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stdout.decode()
