"""Who sends a request: told from its token, and never a hint about one that is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.api.callers import Callers
from app.api.errors import RequestError
from app.security.keys import development_keys
from app.security.tokens import Claims, Tokens
from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

REFUSED = "this needs a valid token: Authorization: Bearer …"
VIEWER = "{ viewer { name permissions allTenants user { username } tenant { name } expiresAt } }"


async def another(folder: Path, audience: str = "hindsight") -> Tokens:
    """A signer with a key of its own."""
    return await Tokens.open(development_keys(folder), issuer="hindsight", audience=audience, leeway=0)


async def signed_elsewhere(api: Api, folder: Path) -> str:
    soon = datetime.now(UTC) + timedelta(hours=1)
    return (await another(folder)).sign(Claims(subject="x", all_tenants=True, permissions=frozenset("*"), expires_at=soon))


async def for_another_audience(api: Api, folder: Path) -> str:
    soon = datetime.now(UTC) + timedelta(hours=1)
    ours = api.backend.tokens
    other = Tokens(ours._keys, issuer="hindsight", audience="elsewhere", leeway=0)
    return other.sign(Claims(subject="x", all_tenants=True, permissions=frozenset("*"), expires_at=soon))


async def expired(api: Api, folder: Path) -> str:
    past = datetime.now(UTC) - timedelta(minutes=5)
    return api.bearer("x", {"*"}, all_tenants=True, expires_at=past).removeprefix("Bearer ")


async def nobody(api: Api, folder: Path) -> str:
    return api.bearer(str(uuid4())).removeprefix("Bearer ")


BAD: list[Callable[[Api, Path], Any]] = [signed_elsewhere, for_another_audience, expired, nobody]


async def refused(api: Api, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://hindsight", headers=headers) as http:
        answer = await (http.post(path, json={"query": "{ head }"}) if path == "/graphql" else http.get(path))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="hindsight"'
    return answer


@pytest.mark.parametrize("path", ["/graphql", "/events/recent"])
async def test_no_token_and_every_bad_one_get_the_same_answer(api: Api, path: str, tmp_path: Path) -> None:
    bad = [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": "Bearer nonsense"}]
    bad += [{"authorization": f"Bearer {await made(api, tmp_path)}"} for made in BAD]
    for headers in bad:
        body = (await refused(api, path, headers)).json()
        if path == "/graphql":
            (error,) = body["errors"]
            assert (error["message"], error["extensions"]["code"]) == (REFUSED, "UNAUTHENTICATED")
            assert body.keys() == {"errors"}
        else:
            assert body == {"success": False, "data": None, "message": REFUSED}


async def test_page_and_health_need_no_token(api: Api) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://hindsight") as http:
        assert [(await http.get(path)).status_code for path in ("/", "/health", "/ready")] == [200, 200, 200]


async def test_a_user_is_told_with_what_their_roles_permit(api: Api) -> None:
    tenant = await api.tenant("Lighthouse")
    role = await api.role(tenant, "reader", "user.read", "event.read")
    ann = await api.user(tenant, "ann", roleIds=[role])
    viewer = (await api.answer(VIEWER, {"authorization": api.bearer(ann)}))["data"]["viewer"]
    assert viewer.pop("expiresAt").endswith("Z")
    assert viewer == {
        "name": ann,
        "permissions": ["event.read", "user.read"],
        "allTenants": False,
        "user": {"username": "ann"},
        "tenant": {"name": "Lighthouse"},
    }


async def test_a_token_may_name_permissions_itself(api: Api) -> None:
    tenant = await api.tenant()
    headers = {"authorization": api.bearer("backup", {"event.read"}, tenant_id=UUID(tenant))}
    viewer = (await api.answer("{ viewer { name permissions allTenants user { id } } }", headers))["data"]["viewer"]
    assert viewer == {"name": "backup", "permissions": ["event.read"], "allTenants": False, "user": None}


async def test_the_log_keeps_who_it_was(api: Api) -> None:
    tenant = await api.tenant()
    ann = await api.user(tenant, "ann")
    headers = {"authorization": api.bearer(ann, {"*"})}
    document = 'mutation ($id: ID!) { updateUserProfile(input: {id: $id, fullName: "Ann"}) { events { actor } } }'
    answer = await api.answer(document, headers, id=ann)
    assert answer["data"]["updateUserProfile"]["events"] == [{"actor": ann}]


@pytest.mark.parametrize(("mutation", "input"), [("lockUser", {"reason": "left"}), ("deleteUser", {})], ids=["locked", "deleted"])
async def test_a_user_who_may_not_log_in_bears_no_valid_token(api: Api, mutation: str, input: dict[str, Any]) -> None:
    ann = await api.user(await api.tenant(), "ann")
    header = api.bearer(ann)
    assert (await callers(api).sender(header)).name == ann
    await api.done(mutation, id=ann, **input)
    with pytest.raises(RequestError, match=REFUSED):
        await callers(api).sender(header)


def callers(api: Api) -> Callers:
    """Callers of whom nobody is known yet."""
    return Callers(api.backend.tokens, api.backend.store, api.backend.lookups)


async def test_a_users_token_for_another_tenant_is_not_valid(api: Api) -> None:
    one, other = await api.tenant(), await api.tenant()
    ann = await api.user(one, "ann")
    answer = await api.answer("{ viewer { name } }", {"authorization": api.bearer(ann, tenant_id=UUID(other))})
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_known_token_asks_nothing_of_the_database(still: Api) -> None:
    tenant = await still.tenant()
    ann = await still.user(tenant, "ann")
    still.http.headers["authorization"] = still.bearer(ann, {"*"})
    for expected in (1, 0):
        _, statements = await still.counting("{ viewer { name } }")
        assert len(statements) == expected


async def test_without_authentication_everybody_is_the_operator(url: str) -> None:
    async with serving(url, authentication="off") as api:
        del api.http.headers["authorization"]
        assert await api.ask("{ viewer { name permissions allTenants expiresAt } }") == {
            "viewer": {"name": "operator", "permissions": ["*"], "allTenants": True, "expiresAt": None}
        }
