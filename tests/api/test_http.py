"""GraphQL over HTTP: what may be sent how, and what comes back with which status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

NEW = "application/graphql-response+json"
OLD = "application/json"


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, OLD),
        ("", OLD),
        ("*/*", OLD),
        (OLD, OLD),
        (NEW, NEW),
        (f"{NEW}, {OLD};q=0.9", NEW),
        (f"{OLD};q=0.5, {NEW};q=0.7", NEW),
        (f"{NEW};q=0, */*;q=0.1", OLD),
        ("Application/GraphQL-Response+JSON; charset=utf-8", NEW),
    ],
)
async def test_the_answer_has_a_type_that_the_client_accepts(api: Api, accept: str | None, answered: str) -> None:
    request = api.http.build_request("POST", "/graphql", json={"query": "{ __typename }"})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = await api.http.send(request)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{answered}; charset=utf-8"
    assert answer.headers["vary"] == "accept, accept-encoding, authorization"
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize("accept", ["text/html", f"{NEW};q=0", "nonsense;q=much"])
async def test_a_client_that_accepts_nothing_that_there_is_gets_406(api: Api, accept: str) -> None:
    answer = await api.http.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": accept})
    assert answer.status_code == 406
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "subscription { events { id } }"}, "BAD_REQUEST"),
        ({"query": "query ($id: ID!) { user(id: $id) { id } }"}, "BAD_USER_INPUT"),
        ({"query": "query A { head } query B { head }"}, "BAD_USER_INPUT"),
        ({"query": "query A { head }", "operationName": "C"}, "BAD_USER_INPUT"),
        ({"query": "{ " + "head " * 1000 + "}"}, "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_an_operation_that_cannot_begin_is_told_by_the_status_to_new_clients_only(api: Api, body: Any, code: str) -> None:
    for accept, status in ((NEW, 400), (OLD, 200)):
        answer = await api.http.post("/graphql", json=body, headers={"accept": accept})
        assert answer.status_code == status
        assert "data" not in answer.json()
        assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {code}


async def test_an_error_in_a_field_is_no_error_of_the_request(api: Api) -> None:
    for accept in (NEW, OLD):
        answer = await api.http.post("/graphql", json={"query": '{ user(id: "x") { id } }'}, headers={"accept": accept})
        assert answer.status_code == 200
        assert answer.json()["data"] == {"user": None}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"query": "\xff"}', "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'[{"query": "{ head }"}]', "JSON object"),
        (b"{}", "query must be"),
        (b'{"query": ""}', "query must be"),
        (b'{"query": 1}', "query must be"),
        (b'{"query": "{ head }", "operationName": 1}', "operationName must be"),
        (b'{"query": "{ head }", "variables": []}', "variables must be"),
        (b'{"query": "{ head }", "variables": 0}', "variables must be"),
        (b'{"query": "{ head }", "extensions": "x"}', "extensions must be"),
    ],
)
async def test_what_is_no_graphql_request_gets_400(api: Api, body: bytes, says: str) -> None:
    for accept in (NEW, OLD):
        answer = await api.http.post("/graphql", content=body, headers={"content-type": OLD, "accept": accept})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["extensions"]["code"]) == (400, "BAD_REQUEST")
        assert says in error["message"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", f"{OLD}; charset=latin-1"]
)
async def test_only_json_is_taken_so_that_no_foreign_page_can_send_it(api: Api, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await api.http.post("/graphql", content=b'{"query": "{ head }"}', headers=headers)
    assert answer.status_code == 415


async def test_null_is_as_good_as_nothing(api: Api) -> None:
    body = {"query": "{ __typename }", "operationName": None, "variables": None, "extensions": None}
    assert (await api.http.post("/graphql", json=body)).json()["data"] == {"__typename": "Query"}


async def test_one_of_several_operations_is_chosen_by_name(api: Api) -> None:
    body = {"query": "query A { a: __typename } query B { b: __typename }", "operationName": "B"}
    assert (await api.http.post("/graphql", json=body)).json()["data"] == {"b": "Query"}


async def test_queries_may_come_by_get_and_nothing_else(api: Api) -> None:
    document = "query Q($id: ID!) { user(id: $id) { id } }"
    parameters = {"query": document, "operationName": "Q", "variables": '{"id": "0190b8a4-6c1e-7d2f-8a3b-1c2d3e4f5a6b"}'}
    assert (await api.http.get("/graphql", params=parameters)).json()["data"] == {"user": None}
    before = await api.ask("{ head }")
    mutation = 'mutation { createTenant(input: { name: "x" }) { position } }'
    answer = await api.http.get("/graphql", params={"query": mutation})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert await api.ask("{ head }") == before
    assert (await api.http.get("/graphql", params={"query": document, "variables": "{"})).status_code == 400
    assert (await api.http.get("/graphql")).status_code == 400
    for method in ("PUT", "DELETE", "OPTIONS"):
        answer = await api.http.request(method, "/graphql")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_a_body_over_one_mebibyte_is_refused_however_it_comes(api: Api) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        yield b'{"query": "{ head }", "variables": {"x": "'
        for _ in range(1025):
            yield b"x" * 1024
        yield b'"}}'

    headers = {"content-type": OLD}
    for content in (b" " * (1024 * 1024 + 1), in_pieces()):
        answer = await api.http.post("/graphql", content=content, headers=headers)
        assert answer.status_code == 413
    largest = b'{"query": "{ __typename }"}'.ljust(1024 * 1024)
    assert (await api.http.post("/graphql", content=largest, headers=headers)).status_code == 200


@pytest.mark.parametrize("position", ["x", "-1", "1.5", "9" * 5000, "²"])
async def test_a_position_to_wait_for_is_a_whole_number(api: Api, position: str) -> None:
    headers = [(b"hindsight-min-position", position.encode())]
    answer = await api.http.post("/graphql", json={"query": "{ head }"}, headers=headers)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (400, "BAD_USER_INPUT")
    assert "Hindsight-Min-Position" in error["message"]


async def test_the_request_id_is_the_clients_or_a_new_one(api: Api) -> None:
    answer = await api.answer("{ nothing }", {"x-request-id": "mine"})
    assert answer["errors"][0]["extensions"]["requestId"] == "mine"
    long = await api.answer("{ nothing }", {"x-request-id": "x" * 10_000})
    assert len(long["errors"][0]["extensions"]["requestId"]) == 500
    echoed = await api.http.post("/graphql", json={"query": "{ head }"}, headers={"x-request-id": "mine"})
    assert echoed.headers["x-request-id"] == "mine"
    echoed = await api.http.post("/graphql", json={"query": "{ nothing }"})
    assert echoed.headers["x-request-id"] == echoed.json()["errors"][0]["extensions"]["requestId"]


@pytest.mark.parametrize("header", ["hindsight-preflight", "apollo-require-preflight"])
async def test_a_header_for_which_browsers_ask_first_is_as_good_as_the_type(api: Api, header: str) -> None:
    headers = {"content-type": "text/plain", header: "1"}
    answer = await api.http.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("GZIP;q=1.0, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *;q=0.1", "gzip"),
        ("br, identity", None),
        ("gzip;q=0", None),
        ("gzip;q=much", None),
        ("", None),
    ],
)
async def test_a_long_answer_is_compressed_as_the_client_understands_it(api: Api, accepted: str, coding: str | None) -> None:
    document = "{ __schema { types { name description } } }"
    answer = await api.http.post("/graphql", json={"query": document}, headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert {"name": "User", "description": "Somebody whom a tenant knows."} in answer.json()["data"]["__schema"]["types"]
    short = await api.http.post("/graphql", json={"query": "{ head }"}, headers={"accept-encoding": accepted})
    assert "content-encoding" not in short.headers
