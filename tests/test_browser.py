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
PATIENCE = 600
"""Seconds, for a machine under load."""


def program(name: str) -> str:
    """The path of a program, which may be missing on a person's machine but not in CI."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]))
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
    return str(path)


@pytest.fixture
def address(url: str) -> Iterator[str]:
    """Where `hindsight serve` answers, on an empty database."""
    environment = {
        **os.environ,
        "HINDSIGHT_DATABASE_URL": url,
        "HINDSIGHT_AUTHENTICATION": "off",
        "HINDSIGHT_DEADLINE_MS": str(PATIENCE * 1000),
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().split()[3]
        server.terminate()


def used_by_keyboard(address: str, query: str) -> dict[str, Any]:
    command = [program("node"), str(DRIVER), program("chromium"), address, query]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return dict(json.loads(done.stdout))


def test_graphiql_answers_by_keyboard_and_asks_no_other_host(address: str) -> None:
    seen = used_by_keyboard(address, "{ head users { totalCount } }")
    assert seen["first"]["data"] == {"head": 0, "users": {"totalCount": 0, "nodes": []}}
    assert seen["typed"]["data"] == {"head": 0, "users": {"totalCount": 0}}
    assert seen["elsewhere"] == []
    assert seen["complaints"] == []
    assert seen["title"] == "Hindsight"
