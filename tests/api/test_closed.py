"""Answers about the closed past may be kept and need not be asked for again; whatever may still change is never kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app.api.closed import code
from tests.api.conftest import Api
from tests.projections.brittle import damage

pytestmark = pytest.mark.anyio

USER = "query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { email tenant { name } roles { name } permissions } }"
USERS = "query ($at: AsOf) { users(asOf: $at) { totalCount nodes { email history { nodes { type } totalCount } } } }"


async def get(api: Api, document: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
    parameters = {"query": document, "variables": orjson.dumps(variables).decode()}
    return await api.http.get("/graphql", params=parameters, headers=headers)


async def population(api: Api) -> str:
    """The id of a user, at version 2."""
    tenant = await api.tenant()
    return await api.user(tenant, roleIds=[await api.role(tenant, "admin", "user.write")])


@pytest.mark.parametrize(
    ("document", "moment"), [(USER, {"version": 2}), (USER, {"position": 4}), (USERS, {"position": 3}), (USERS, {"position": 0})]
)
async def test_a_closed_answer_is_kept_and_not_worked_out_again(still: Api, document: str, moment: Any) -> None:
    id = await population(still)
    first = await get(still, document, id=id, at=moment)
    assert "errors" not in first.json()
    assert first.headers["cache-control"] == "private, max-age=86400, immutable"
    assert "authorization" in first.headers["vary"]
    await still.done("changeUserEmail", id=id, email="other@example.com")
    second = await get(still, document, id=id, at=moment)
    assert (second.content, second.headers["etag"]) == (first.content, first.headers["etag"])
    await still.backend.store.database.fetch("ALTER VIEW read.users RENAME TO lost")
    again = await get(still, document, {"if-none-match": f'"x", {first.headers["etag"]}'}, id=id, at=moment)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])


@pytest.mark.parametrize(
    ("document", "moment"),
    [
        (USER, None),
        (USERS, None),
        (USER, {"timestamp": "2020-01-01T00:00:00Z"}),
        (USERS, {"timestamp": "2020-01-01T00:00:00Z"}),
        (USER, {"version": 99}),
        (USER, {"position": 9999}),
        ("query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { id } head }", {"version": 1}),
        ("query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { incomplete } }", {"version": 1}),
        ("query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { replay { milliseconds } } }", {"version": 1}),
        ("query ($id: ID!, $at: Moment) { user(id: $id, at: $at) { history { nodes { subject { id } } } } }", {"version": 1}),
        ("query ($id: ID!, $at: Moment!) { user(id: $id) { at(moment: $at) { id } } }", {"version": 1}),
    ],
)
async def test_what_may_still_change_is_never_kept(still: Api, document: str, moment: Any) -> None:
    answer = await get(still, document, id=await population(still), at=moment)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


async def test_an_answer_is_its_askers_own(still: Api) -> None:
    id = await population(still)
    mine = await get(still, USER, id=id, at={"version": 2})
    for permissions in ({"user.read"}, {"event.read"}):
        headers = {"authorization": still.bearer("other", permissions, all_tenants=True)}
        theirs = await get(still, USER, {**headers, "if-none-match": mine.headers["etag"]}, id=id, at={"version": 2})
        assert theirs.status_code == 200
        assert theirs.headers["etag"] != mine.headers["etag"]
    nobody = await get(still, USER, {"authorization": "", "if-none-match": mine.headers["etag"]}, id=id, at={"version": 2})
    assert nobody.status_code == 401


async def test_an_answer_from_a_table_that_lacks_an_event_is_not_kept(still: Api) -> None:
    id = await population(still)
    position = (await still.change("changeUserEmail", id=id, email="new@example.com"))["position"]
    await damage(still.backend.store, position)
    await still.backend.engine.catch_up()
    assert "etag" not in (await get(still, USERS, at={"position": position})).headers
    roles = "query ($at: AsOf) { roles(asOf: $at) { nodes { name } } }"
    assert "etag" in (await get(still, roles, at={"position": position})).headers


async def test_posts_are_never_kept(still: Api) -> None:
    answer = await still.http.post("/graphql", json={"query": USERS, "variables": {"at": {"position": 1}}})
    assert answer.headers["cache-control"] == "no-store"


def test_another_build_has_other_tags_though_its_version_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "app" / "domain").mkdir(parents=True)
    source = tmp_path / "app" / "domain" / "user.py"
    found = set()
    for text in ("name = 1", "name = 2", "name = 2"):
        source.write_text(text)
        code.cache_clear()
        found.add(code(tmp_path))
    assert len(found) == 2
    assert code() not in found
