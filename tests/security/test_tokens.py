"""Tokens: what is signed is told again, and whatever is not whole, ours and of now is refused."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import Key, OctKey, OKPKey, RSAKey

from app.errors import ConfigurationError
from app.security.keys import Keys, development_keys
from app.security.tokens import Claims, InvalidToken, Tokens

pytestmark = pytest.mark.anyio

TENANT = UUID("01a1fd52-0ba9-705c-8262-e51d2b5f9ea6")
ANN = "01a1fd54-7c1e-7d3c-8f7a-64f0f8a4b9d2"
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
LEEWAY = 10


def key_set(file: Path, *held: Key, private: bool = True) -> str:
    file.write_bytes(orjson.dumps({"keys": [key.as_dict(private=private) for key in held]}))
    return str(file)


def new_key(algorithm: str = "Ed25519") -> Key:
    parameters: Any = {"alg": algorithm, "use": "sig"}
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, parameters, auto_kid=True)
    return OKPKey.generate_key("Ed25519", parameters, auto_kid=True)


async def opened(source: str, **times: float) -> Tokens:
    return Tokens(await Keys.open(source, **times), issuer="hindsight", audience="hindsight", leeway=LEEWAY)


def payload(**changes: Any) -> dict[str, Any]:
    whole = {"iss": "hindsight", "aud": "hindsight", "sub": ANN, "exp": int(LATER.timestamp())}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def signed(key: Key, algorithm: str = "Ed25519", **changes: Any) -> str:
    return jwt.encode({"alg": algorithm, "kid": key.kid or ""}, payload(**changes), key, [algorithm])


@pytest.mark.parametrize(
    "claims",
    [
        Claims(subject=ANN, expires_at=LATER),
        Claims(subject=ANN, tenant_id=TENANT, permissions=frozenset({"user.read"}), expires_at=LATER),
        Claims(subject="backup", all_tenants=True, permissions=frozenset({"*"}), expires_at=LATER),
    ],
)
@pytest.mark.parametrize("algorithm", ["Ed25519", "EdDSA", "RS256"])
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_what_is_signed_is_told_again(tmp_path: Path, claims: Claims, algorithm: str) -> None:
    tokens = await opened(key_set(tmp_path / "keys", new_key(algorithm)))
    assert await tokens.verify(tokens.sign(claims)) == claims


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_700_000_000},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 10**20},
        {"nbf": 9_000_000_000},
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "something"},
        {"aud": None},
        {"sub": None},
        {"sub": 7},
        {"tenant": "Acme"},
        {"tenant": 7},
        {"permissions": "user.read"},
        {"sub": "backup", "permissions": ["*"]},
        {"sub": "backup", "tenant": "*"},
    ],
    ids=str,
)
async def test_claims_that_are_not_whole_ours_and_of_now_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    key = new_key()
    tokens = await opened(key_set(tmp_path / "keys", key))
    assert (await tokens.verify(signed(key))).subject == ANN
    with pytest.raises(InvalidToken):
        await tokens.verify(signed(key, **changes))


async def test_clocks_may_differ_a_little(tmp_path: Path) -> None:
    key = new_key()
    tokens = await opened(key_set(tmp_path / "keys", key))
    assert (await tokens.verify(signed(key, exp=int(datetime.now(UTC).timestamp()) - 1))).subject == ANN


def with_no_algorithm(key: Key) -> str:
    _, body, _ = signed(key).split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def with_the_public_key_as_a_secret(key: Key) -> str:
    secret = OctKey.import_key(orjson.dumps(key.as_dict(private=False)))
    return jwt.encode({"alg": "HS256", "kid": key.kid or ""}, payload(), secret, ["HS256"])


@pytest.mark.parametrize(
    "forged",
    [
        lambda key: "",
        lambda key: "a.b.c",
        lambda key: "é.é.é",
        lambda key: signed(key)[:-8] + "AAAAAAAA",
        lambda key: signed(new_key()),
        with_no_algorithm,
        with_the_public_key_as_a_secret,
    ],
    ids=["nothing", "no JSON", "no ASCII", "another signature", "another key", "no algorithm", "the public key as a secret"],
)
async def test_what_our_key_did_not_sign_is_refused(tmp_path: Path, forged: Callable[[Key], str]) -> None:
    key = new_key()
    tokens = await opened(key_set(tmp_path / "keys", key))
    with pytest.raises(InvalidToken):
        await tokens.verify(forged(key))


async def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    tokens = await opened(key_set(tmp_path / "keys", old), lasts=0.0, pause=0.0)
    with pytest.raises(InvalidToken):
        await tokens.verify(signed(new))
    key_set(tmp_path / "keys", new, old)
    assert await tokens.verify(signed(new)) == await tokens.verify(signed(old))
    key_set(tmp_path / "keys", new)
    with pytest.raises(InvalidToken):
        await tokens.verify(signed(old))


async def test_keys_that_cannot_be_read_any_more_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key()
    tokens = await opened(key_set(tmp_path / "keys", key), lasts=0.0)
    (tmp_path / "keys").write_text("half a fi")
    with caplog.at_level(logging.WARNING):
        assert (await tokens.verify(signed(key))).subject == ANN
    assert "the keys of tokens stay as they are" in caplog.text


async def test_keys_may_lie_behind_a_url(tmp_path: Path) -> None:
    key = new_key("RS256")
    served = orjson.dumps({"keys": [key.as_dict(private=False)]})

    class Serving(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(served)

        def log_message(self, *_args: Any) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Serving) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        tokens = await opened(f"http://127.0.0.1:{server.server_port}/keys")
        server.shutdown()
    assert (await tokens.verify(signed(key, "RS256"))).subject == ANN
    with pytest.raises(ConfigurationError, match="holds no private key"):
        tokens.sign(Claims(subject=ANN, expires_at=LATER))


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', '{"keys": [{"kty": "OKP"}]}', "[]"])
async def test_a_file_that_holds_no_keys_stops_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigurationError, match="the keys of tokens cannot be read from"):
        await opened(str(tmp_path / "keys"))


async def test_the_development_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    first = await opened(development_keys(folder))
    assert [(each.name, stat.S_IMODE(each.stat().st_mode)) for each in folder.iterdir()] == [("token-key.json", 0o600)]
    again = await opened(development_keys(folder))
    assert (await again.verify(first.sign(Claims(subject=ANN, expires_at=LATER)))).subject == ANN
