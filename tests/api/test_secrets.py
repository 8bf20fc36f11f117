"""Passwords, tokens and their hashes stay where they belong, whatever happens."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

PASSWORDS = ("the first secret", "the second secret", "the third secret", "a wrong secret")
FIRST, SECOND, THIRD, WRONG = PASSWORDS

LOGIN = "mutation ($input: LoginInput!) { login(input: $input) { accessToken refreshToken problems { message } } }"
REFRESH = "mutation ($input: RefreshInput!) { refresh(input: $input) { accessToken refreshToken problems { message } } }"
CHANGE = """mutation ($input: ChangeOwnPasswordInput!) {
    changeOwnPassword(input: $input) { accessToken refreshToken problems { message } }
}"""


async def rows(api: Api) -> list[str]:
    """Every row of every table, as text, but for the hashes of passwords."""
    database = api.backend.store.database
    tables = await database.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('es', 'read')")
    names = [f'{schema}."{table}"' for schema, table in tables if table != "credentials"]
    return [row[0] for name in names for row in await database.fetch(f"SELECT t::text FROM {name} t")]


async def test_no_secret_is_in_the_database_the_log_or_an_error(still: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[str] = [*PASSWORDS]
    key = still.backend.tokens._keys.signing()
    secrets.append(str(key.as_dict(private=True)["d"]))
    answers: list[str] = []

    async def send(document: str, bearer: str = "", **input: Any) -> dict[str, Any]:
        """The payload; its tokens are secrets from now on."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        transport = httpx.ASGITransport(still.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://hindsight", headers=headers) as http:
            answer = (await http.post("/graphql", json={"query": document, "variables": {"input": input}})).json()
        payload = next(iter((answer.get("data") or {"": {}}).values())) or {}
        secrets.extend(filter(None, (payload.pop(name, None) for name in ("accessToken", "refreshToken"))))
        answers.append(json.dumps(answer))
        return {**payload, "tokens": secrets[-2:]}

    ann = await still.user(await still.tenant(), "ann", password=FIRST, idempotencyKey="once")
    await still.done("changeUserPassword", id=ann, password=SECOND, idempotencyKey="twice")
    access, refresh = (await send(LOGIN, username="ann", password=SECOND))["tokens"]
    await send(LOGIN, username="ann", password=WRONG)
    await send(LOGIN, username=WRONG, password=WRONG)
    await send(CHANGE, access, currentPassword=SECOND, newPassword=THIRD)
    await send(REFRESH, refreshToken=refresh)
    await send(REFRESH, refreshToken=(await send(LOGIN, username="ann", password=THIRD))["tokens"][1])
    for wrong in ({"username": "ann", "password": [WRONG]}, {"password": WRONG}, {"username": "a", "password": WRONG, "x": 1}):
        await send(LOGIN, **wrong)
        await send(LOGIN.replace("$input: LoginInput!", "").replace("()", "").replace("$input", literal(wrong)))
    await still.backend.engine.catch_up()

    hashes = [row[0] for row in await still.backend.store.database.fetch("SELECT hash FROM es.credentials")]
    assert len(hashes) == 1
    assert len(secrets) == len(PASSWORDS) + 1 + 8
    for text in [*await rows(still), caplog.text, *answers]:
        assert [secret for secret in [*secrets, *hashes] if secret in text] == [], text


def literal(value: Any) -> str:
    """The value as GraphQL spells it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)
