"""Eight years of a real organisation's history, imported and projected, behind a server; and what its file says by itself."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette

from app.main import create_app
from app.security.tokens import Claims
from app.settings import Settings
from app.transfer import Files, import_files
from app.wiring import Service, service
from tests.conftest import PATIENCE, administer, database_url

DATA = Path(__file__).parents[1] / "data" / "kubernetes-org"
EVENTS = DATA / "events.jsonl.gz"
FILE: list[dict[str, Any]] = [  # with the position that each event gets
    json.loads(line) | {"position": position}
    for position, line in enumerate(gzip.decompress(EVENTS.read_bytes()).splitlines(), start=1)
]
TRUTH = [json.loads(line) for line in gzip.decompress((DATA / "truth.jsonl.gz").read_bytes()).splitlines()]


def by_stream(events: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The events of each user, role and tenant, by its id."""
    streams: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        streams[event["subject"].partition("/")[2]].append(event)
    return streams


OF_STREAM = by_stream(FILE)
USER_IDS = sorted(id for id, events in OF_STREAM.items() if events[0]["type"] == "UserCreated")

FIELDS = ("username", "email", "fullName", "phone", "status", "roleIds", "loginAttempts", "createdAt", "deletedAt")
"""Those that these events touch, in the order in which they are told."""


class Imported(NamedTuple):
    service: Service
    client: httpx.AsyncClient
    app: Starlette


@pytest.fixture(scope="module")
async def imported(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Imported]:
    """The real history, imported and projected, behind a server."""
    await administer(postgres, f"CREATE DATABASE kubernetes TEMPLATE {template}")
    url = database_url(postgres, "kubernetes")
    settings = Settings(deadline_ms=int(PATIENCE * 1000), data_dir=tmp_path_factory.mktemp("keys"))
    app = create_app(settings, url, run_projections=False)
    async with (
        service(settings, url, run_projections=False) as parts,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hindsight", timeout=None) as client,
    ):
        everything = Claims(
            subject="operator", all_tenants=True, permissions=frozenset({"*"}), expires_at=datetime.now(UTC) + timedelta(hours=1)
        )
        client.headers["authorization"] = f"Bearer {app.state.backend.tokens.sign(everything)}"
        result = await import_files(parts.store, Files([EVENTS]))
        assert (result.seen, result.added, result.position) == (len(FILE), len(FILE), len(FILE))
        await parts.engine.prepare()
        await parts.engine.catch_up()
        yield Imported(parts, client, app)
    await administer(postgres, "DROP DATABASE kubernetes WITH (FORCE)")


async def ask(client: httpx.AsyncClient, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    answer = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer["errors"]
    data: dict[str, Any] = answer["data"]
    return data


def by_hand(events: list[dict[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    """Event id, field, before and after, of the events of one user: without a line of the service's own."""
    user: dict[str, Any] = {}
    changes = []
    for event in events:
        match event["type"]:
            case "UserCreated":
                begun = {"status": "ACTIVE", "roleIds": [], "loginAttempts": 0, "createdAt": event["time"]}
                after = {field: event["data"].get(field) for field in ("username", "email", "fullName", "phone")} | begun
            case "RolesAssigned":
                after = {"roleIds": event["data"]["roleIds"]}
            case "UserDeleted":
                after = {"status": "DELETED", "deletedAt": event["time"]}
            case "UserRestored":
                after = {"status": "ACTIVE", "deletedAt": None}
            case unknown:
                raise AssertionError(unknown)
        for field in FIELDS:
            if field in after and user.get(field) != after[field]:
                changes.append((event["id"], field, user.get(field), after[field]))
        user |= after
    return changes
