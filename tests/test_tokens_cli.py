"""`hindsight token`: tokens that say what was asked for, and none that would be good for nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from app.commands import operator
from app.domain.user import USER
from app.domain.user_events import UserCreated
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.security.keys import development_keys
from app.security.tokens import Claims, Tokens
from tests.projections.histories import History
from tests.test_cli import hindsight

TENANT = UUID("01a1fd52-0ba9-705c-8262-e51d2b5f9ea6")
ANN = UUID("01a1fd54-7c1e-7d3c-8f7a-64f0f8a4b9d2")


@pytest.fixture
def environment(url: str, tmp_path: Path) -> dict[str, str]:
    return {"HINDSIGHT_DATABASE_URL": url, "HINDSIGHT_DATA_DIR": str(tmp_path)}


def claims(environment: dict[str, str], *args: str) -> Claims:
    """What the token says that the command writes."""
    result = hindsight(environment, "token", *args)
    assert result.exit_code == 0, result.stderr

    async def verified() -> Claims:
        source = development_keys(Path(environment["HINDSIGHT_DATA_DIR"]))
        tokens = await Tokens.open(source, issuer="hindsight", audience="hindsight", leeway=0)
        return await tokens.verify(result.stdout.strip())

    return anyio.run(verified)


def test_a_token_without_a_user_is_the_operators(environment: dict[str, str]) -> None:
    everything = claims(environment, "--all-tenants")
    assert (everything.subject, everything.all_tenants, everything.permissions) == (operator(), True, frozenset({"*"}))
    assert timedelta(minutes=59) < everything.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    some = claims(environment, "--tenant", str(TENANT), "--permission", "event.read", "--permission", "user.read", "--ttl", "7d")
    assert (some.tenant_id, some.all_tenants, some.permissions) == (TENANT, False, frozenset({"event.read", "user.read"}))
    assert some.expires_at - datetime.now(UTC) > timedelta(days=6)


async def add_ann(url: str, codec: Codec) -> None:
    database = await Database.open(url)
    async with Batcher(database, codec) as batcher:
        await History(batcher).add(USER, ANN, UserCreated(username="ann", email="ann@example.com"), tenant_id=TENANT)
    await database.close()


def test_a_users_token_leaves_to_their_roles_what_it_permits(environment: dict[str, str], url: str, codec: Codec) -> None:
    anyio.run(add_ann, url, codec)
    of_ann = claims(environment, "--user", str(ANN))
    assert (of_ann.user_id, of_ann.tenant_id, of_ann.permissions) == (ANN, None, None)
    result = hindsight(environment, "token", "--user", str(ANN), "--tenant", str(uuid4()))
    assert (result.exit_code, result.stderr) == (2, f"Error: tenant: the user is tenant {TENANT}'s\n")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ([], 2, "tenant: is needed, or --user or --all-tenants: whose data is it for?"),
        (["--all-tenants", "--tenant", str(TENANT)], 2, "tenant: cannot be combined with --all-tenants"),
        (["--all-tenants", "--ttl", "soon"], 2, "ttl: 'soon' is no span of time; write it like 30m, 8h or 7d"),
        (["--all-tenants", "--ttl", "0h"], 2, "ttl: '0h' is no span of time; write it like 30m, 8h or 7d"),
        (["--user", str(ANN)], 1, f"there is no user {ANN}"),
    ],
)
def test_what_would_be_good_for_nothing_is_refused(environment: dict[str, str], args: list[str], code: int, says: str) -> None:
    result = hindsight(environment, "token", *args)
    assert (result.exit_code, result.stderr) == (code, f"Error: {says}\n")
