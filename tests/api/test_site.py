"""What is served beside the API: GraphiQL, and how the process fares."""

from __future__ import annotations

import re

import pytest

from app.api.site import HEADERS
from app.eventstore.database import Database
from projections import PROJECTIONS
from tests.api.conftest import Api, serving
from tests.test_browser import ROOT

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
    assert (await api.http.get("/static/../../main.py")).status_code == 404
    assert (await api.http.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"


async def test_every_answer_has_the_headers_that_protect_it(api: Api) -> None:
    answers = {
        path: await api.http.get(path) for path in ("/", "/static/boot.js", "/examples.json", "/health", "/nowhere", "/graphql")
    }
    answers["posted"] = await api.http.post("/graphql", json={"query": "{ head }"})
    answers["stranger"] = await api.http.post("/graphql", json={"query": "{ head }"}, headers={"authorization": ""})
    assert {name: answer.status_code for name, answer in answers.items()} == {
        **dict.fromkeys(("/", "/static/boot.js", "/examples.json", "/health", "posted"), 200),
        **{"/nowhere": 404, "/graphql": 400, "stranger": 401},
    }
    for answer in answers.values():
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert HEADERS.items() <= dict(answer.headers).items(), "each once"


async def test_the_examples_are_the_queries_of_the_readme(api: Api) -> None:
    sections = (await api.http.get("/examples.json")).json()
    queries = [example["query"] for section in sections for example in section["examples"]]
    assert queries == re.findall(r"```graphql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert sections[0]["heading"] == "First steps"
    assert sections[0]["examples"][0]["title"] == "createTenant"
    assert sections[0]["examples"][0]["says"] == "Everything belongs to a tenant, so make one"


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
