"""GraphiQL in a real browser, which may reach nothing but the server: Debian's Chromium, driven by Playwright from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DRIVER = ROOT / "tests" / "node" / "graphiql.mjs"
HINDSIGHT = (sys.executable, "-m", "app.cli")
PATIENCE = 600
"""Seconds, for a machine under load."""


def program(name: str) -> str:
    """The path of a program, which may be missing on a person's machine but not in CI."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]))
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
    return str(path)


@pytest.fixture
def environment(url: str, tmp_path: Path) -> dict[str, str]:
    """That of a service on an empty database, with a key of its own."""
    ours = {
        "HINDSIGHT_DATABASE_URL": url,
        "HINDSIGHT_DATA_DIR": str(tmp_path),
        "HINDSIGHT_DEADLINE_MS": str(PATIENCE * 1000),
    }
    return {**os.environ, **ours}


@pytest.fixture
def address(environment: dict[str, str]) -> Iterator[str]:
    """Where `hindsight serve` answers."""
    command = [*HINDSIGHT, "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().split()[3]
        server.terminate()


@pytest.fixture
def token(environment: dict[str, str]) -> str:
    command = [*HINDSIGHT, "token", "--all-tenants"]
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def used(address: str, token: str) -> dict[str, Any]:
    command = [program("node"), str(DRIVER), program("chromium"), address, token]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return dict(json.loads(done.stdout))


def test_graphiql_takes_a_token_and_answers_and_asks_no_other_host(address: str, token: str) -> None:
    seen = used(address, token)
    assert seen["title"] == "Hindsight"

    assert seen["stranger"] == "this needs a valid token: Authorization: Bearer …"
    assert all("401" in refusal for refusal in seen["refusals"])
    assert seen["known"].endswith("in all tenants, may: *")
    assert seen["kept"]["session"] == {"hindsight:token": token}
    assert token not in seen["kept"]["local"]

    assert seen["first"]["data"] == {"head": 0, "users": {"totalCount": 0, "nodes": []}}
    assert {"user", "users"} <= set(seen["hints"])
    assert seen["completed"].split() == ["{", "users", "{", "totalCount", "}", "}"]
    assert seen["typed"]["data"] == {"users": {"totalCount": 0}}

    assert seen["example"] in (ROOT / "README.md").read_text()
    tenant = seen["created"]["data"]["createTenant"]["tenant"]
    node = seen["timeline"]["data"]["node"]
    assert (node["id"], node["name"]) == (tenant["id"], "Lighthouse")
    assert [event["type"] for event in node["history"]["nodes"]] == ["TenantCreated"]

    told = [{"events": {"position": position, "type": "TenantCreated"}} for position in (1, 2)]
    assert seen["events"] == told

    assert seen["elsewhere"] == []
    assert seen["complaints"] == []
