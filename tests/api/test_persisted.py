"""Documents that are named by their SHA-256, as the specification has it and as Apollo's clients do; pages of other origins."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.api.documents import KEPT
from app.api.persisted import Persisted
from app.errors import ConfigurationError
from app.main import create_app
from app.settings import Settings
from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

DOCUMENT = "{ __typename }"
DIGEST = sha256(DOCUMENT.encode()).hexdigest()
BY_ID = {"documentId": f"sha256:{DIGEST}"}
AS_APOLLO = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": DIGEST}}}


async def code(api: Api, body: dict[str, Any]) -> str:
    """The code of the only error; nothing when there is an answer."""
    answer = (await api.http.post("/graphql", json=body)).json()
    return "" if answer.get("data") == {"__typename": "Query"} else str(answer["errors"][0]["extensions"]["code"])


@pytest.mark.parametrize("named", [BY_ID, AS_APOLLO], ids=["specification", "Apollo"])
async def test_a_document_is_named_once_it_was_sent(url: str, named: dict[str, Any]) -> None:
    async with serving(url) as api:
        assert await code(api, named) == "PERSISTED_QUERY_NOT_FOUND"
        assert (await api.http.post("/graphql", json=named)).status_code == 200, "a client that knows the old type gets no 400"
        assert await code(api, {"query": "{ head }", **named}) == "BAD_REQUEST"
        assert await code(api, named) == "PERSISTED_QUERY_NOT_FOUND"
        assert await code(api, {"query": DOCUMENT, **named}) == ""
        assert await code(api, named) == ""
        parameters = {key: value if isinstance(value, str) else json.dumps(value) for key, value in named.items()}
        assert (await api.http.get("/graphql", params=parameters)).json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "named",
    [
        {"documentId": DIGEST},
        {"documentId": "sha256:x"},
        {"documentId": 7},
        {"extensions": {"persistedQuery": {"version": 1}}},
        {"extensions": {"persistedQuery": "x"}},
    ],
)
async def test_a_name_that_is_none_is_refused(api: Api, named: dict[str, Any]) -> None:
    assert await code(api, {"query": DOCUMENT, **named}) == "BAD_REQUEST"


async def test_names_can_be_switched_off(url: str) -> None:
    async with serving(url, persisted_documents="off") as api:
        assert await code(api, {"query": DOCUMENT}) == ""
        assert await code(api, {"query": DOCUMENT, **BY_ID}) == "PERSISTED_QUERY_NOT_SUPPORTED"


@pytest.mark.parametrize("prefix", ["", "sha256:"])
async def test_only_trusted_documents_are_carried_out_where_that_is_wanted(url: str, tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "documents.json"
    file.write_text(json.dumps({f"{prefix}{DIGEST}": DOCUMENT}))
    async with serving(url, persisted_documents="trusted", trusted_documents=file) as api:
        assert await code(api, BY_ID) == ""
        assert await code(api, {"query": DOCUMENT}) == ""
        assert await code(api, {"query": "{ head }"}) == "PERSISTED_QUERY_NOT_FOUND"
        assert await code(api, {"documentId": f"sha256:{'0' * 64}"}) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"0" * 64: DOCUMENT})])
def test_a_file_of_trusted_documents_that_is_wrong_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "documents.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="documents"):
        create_app(Settings(persisted_documents="trusted", trusted_documents=file), "postgresql://nowhere")


def test_only_so_many_are_remembered() -> None:
    persisted = Persisted("auto", {})
    for number in range(KEPT + 1):
        text = f"{{ a{number}: head }}"
        persisted.text(text, sha256(text.encode()).hexdigest())
    assert len(persisted._sent) == KEPT


async def test_pages_of_other_origins_may_ask_only_where_that_is_wanted(api: Api, url: str) -> None:
    headers = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    assert (await api.http.options("/graphql", headers=headers)).status_code == 405
    assert "access-control-allow-origin" not in (await api.http.post("/graphql", json={}, headers=headers)).headers
    async with serving(url, cors_origins="https://app.example.com, https://other.example.com") as open_api:
        assert (await open_api.http.options("/graphql", headers=headers)).status_code == 200
        answer = await open_api.http.post("/graphql", json={"query": DOCUMENT}, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        foreign = {**headers, "origin": "https://evil.example.com"}
        assert (await open_api.http.options("/graphql", headers=foreign)).status_code == 400
