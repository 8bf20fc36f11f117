"""What is served beside the API: GraphiQL, and how the process fares."""

from __future__ import annotations

import re

import pytest

from app.eventstore.database import Database
from projections import PROJECTIONS
from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio


async def test_graphiql_comes_from_our_own_files_under_a_strict_policy(api: Api) -> None:
    page = await api.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert links
    assert all(link.startswith("/static/") for link in links)
    for link in (link for link in links if "/vendor/" not in link):
        assert (await api.http.get(link)).status_code == 200, link
    for answer in (page, await api.http.get("/static/boot.js")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await api.http.get("/static/../../main.py")).status_code == 404


async def test_a_process_that_can_answer_is_alive_and_ready(api: Api) -> None:
    assert (await api.http.get("/health")).json() == {"status": "alive"}
    ready = await api.http.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert set(ready.json()["projections"]) == {projection.name for projection in PROJECTIONS}


async def test_a_process_whose_database_lacks_a_migration_is_not_ready(url: str) -> None:
    async with serving(url) as api:
        await api.backend.store.database.fetch("DELETE FROM es.migrations")
        ready = await api.http.get("/ready")
        assert ready.status_code == 503
        assert "hindsight migrate" in ready.json()["reasons"][0]


async def test_a_process_whose_read_tables_stand_still_is_not_ready(url: str) -> None:
    async with serving(url, run_projections=False) as api:
        await api.backend.engine.prepare()
        database: Database = api.backend.store.database
        await database.fetch("UPDATE es.generations SET status = 'failed', error = 'bad fold' WHERE projection = 'users'")
        ready = await api.http.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["projection users stands still: bad fold"]
