"""Logging in against a real log: under attack, in races, and over time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from app.domain.tenant import TENANT, CreateTenant
from app.domain.user import ENDS_SESSIONS, USER
from app.domain.user_commands import ChangeUserPassword, CreateUser, LockUser
from app.domain.user_events import LoginInfoUpdated
from app.errors import LoginElsewhere, LoginFailed, SessionEnded, VersionConflict
from app.eventstore.batcher import Batcher
from app.eventstore.database import Database
from app.eventstore.store import EventStore
from app.execute import Executor, Request
from app.security.credentials import Credential, Credentials
from app.security.keys import development_keys
from app.security.login import Limits, Login, Visit
from app.security.passwords import Passwords
from app.security.sessions import Sessions
from app.security.tokens import Tokens
from tests.security.test_passwords import SWIFT

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMIT = 5
LIMITS = Limits(attempts=LIMIT, lock_minutes=5, failure_takes=0, access_minutes=10)
SLOW = replace(LIMITS, failure_takes=0.05)
CLOCK = 0.001
"""Seconds by which the event loop may wake somebody early."""
PASSWORD, WRONG = "correct horse", "wrong horse"


@dataclass
class Service:
    """As many processes as there are executors, on one database."""

    executors: list[Executor]
    store: EventStore
    sessions: Sessions
    tokens: Tokens
    passwords: Passwords

    def login(self, process: int = 0, passwords: Passwords | None = None, limits: Limits = LIMITS) -> Login:
        """The login of one of the processes."""
        executor = self.executors[process % len(self.executors)]
        credentials = Credentials(self.store.database)
        return Login(self.store, executor, credentials, passwords or self.passwords, self.sessions, self.tokens, limits)

    async def user(self, name: str) -> UUID:
        """The id of a new user."""
        tenant_id, id = uuid7(), uuid7()
        await self.executors[0].execute(request(TENANT, tenant_id, CreateTenant(name="Lighthouse", at=NOON), tenant_id=tenant_id))
        create = CreateUser(tenant_id=tenant_id, username=name, email=f"{name}@example.com", created_by="tester", at=NOON)
        await self.executors[0].execute(
            request(USER, id, create, tenant_id=tenant_id, credential=await self.passwords.hash(PASSWORD))
        )
        return id

    async def attempt(self, name: str, password: str, *, at: datetime = NOON, process: int = 0) -> bool:
        """Whether somebody gets in."""
        try:
            await self.login(process).log_in(name, password, None, visit(at))
        except LoginFailed:
            return False
        return True

    async def attack(self, name: str, attempts: int, right: int) -> int:
        """How many get in of those who try at once, in all processes; from number `right` on with the right password."""
        tried = [self.attempt(name, WRONG if n < right else PASSWORD, process=n) for n in range(attempts)]
        return sum(await asyncio.gather(*tried))

    async def told(self, id: UUID) -> list[str]:
        """What the log tells of the user since their creation."""
        events = await self.store.stream_events(id, 2, 1_000_000)
        return [
            f"{each.type} {each.event.succeeded}" if isinstance(each.event, LoginInfoUpdated) else each.type for each in events
        ]


def request(aggregate: object, stream_id: UUID, command: object, **given: object) -> Request:
    return Request(aggregate=aggregate, stream_id=stream_id, command=command, metadata={"actor": "tester"}, **given)  # type: ignore[arg-type]


def visit(at: datetime = NOON) -> Visit:
    return Visit(at=at, metadata={"actor": "nobody", "ipAddress": "192.0.2.1", "userAgent": "curl"})


def public_keys(folder: Path) -> str:
    """A file with keys that can tell tokens and make none."""
    (key,) = json.loads(Path(development_keys(folder)).read_text())["keys"]
    file = folder / "public.json"
    file.write_text(json.dumps({"keys": [{name: value for name, value in key.items() if name != "d"}]}))
    return str(file)


async def serving(stack: AsyncExitStack, database: Database, store: EventStore, folder: Path, *, processes: int = 1) -> Service:
    tokens = await Tokens.open(development_keys(folder), issuer="i", audience="a", leeway=0)
    executors = [Executor(store, await stack.enter_async_context(Batcher(database, store.codec))) for _ in range(processes)]
    sessions = Sessions(database, days=30, ended_by=[event.__name__ for event in ENDS_SESSIONS])
    return Service(executors, store, sessions, tokens, Passwords(SWIFT))


@pytest.fixture
async def service(database: Database, store: EventStore, tmp_path: Path) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        yield await serving(stack, database, store, tmp_path)


@pytest.fixture
async def processes(database: Database, store: EventStore, tmp_path: Path) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        yield await serving(stack, database, store, tmp_path, processes=4)


LOCKED_BY_FAILURES = ["LoginInfoUpdated False"] * LIMIT + ["AccountLocked"]


async def test_of_attempts_at_once_in_several_processes_exactly_the_limit_counts_and_all_are_told(processes: Service) -> None:
    id = await processes.user("ada")
    assert await processes.attack("ada", 200, right=200) == 0
    assert await processes.told(id) == LOCKED_BY_FAILURES + ["LoginInfoUpdated False"] * (200 - LIMIT)


async def test_the_right_password_among_many_wrong_ones_gets_in_only_before_the_limit(processes: Service) -> None:
    id = await processes.user("ada")
    admitted = await processes.attack("ada", 100, right=50)
    told = await processes.told(id)
    assert Counter(told)["LoginInfoUpdated True"] == admitted
    assert Counter(told)["LoginInfoUpdated False"] == 100 - admitted
    assert Counter(told)["AccountLocked"] == (1 if "AccountLocked" in told else 0)
    before = told[: told.index("AccountLocked")] if "AccountLocked" in told else told
    assert "LoginInfoUpdated True" not in told[len(before) :]


async def test_a_hundred_with_the_right_password_at_once_all_get_in(processes: Service) -> None:
    id = await processes.user("ada")
    assert await processes.attack("ada", 100, right=0) == 100
    assert await processes.told(id) == ["LoginInfoUpdated True"] * 100


async def test_where_no_key_can_sign_nobody_gets_in_and_nothing_is_tried(service: Service, tmp_path: Path) -> None:
    id = await service.user("ada")
    service.tokens = await Tokens.open(public_keys(tmp_path), issuer="i", audience="a", leeway=0)
    login = service.login()
    for way in (
        login.log_in("ada", PASSWORD, None, visit()),
        login.change_password(id, PASSWORD, "another password", visit()),
        login.refresh("any", NOON),
    ):
        with pytest.raises(LoginElsewhere):
            await way
    assert await service.told(id) == []


async def test_the_lock_ends_by_itself_with_an_event_and_not_a_moment_early(service: Service) -> None:
    id = await service.user("ada")
    for _ in range(LIMIT):
        assert not await service.attempt("ada", WRONG)
    end = NOON + timedelta(minutes=5)
    assert not await service.attempt("ada", PASSWORD, at=end - timedelta(microseconds=1))
    assert await service.attempt("ada", PASSWORD, at=end)
    unlocked = ["LoginInfoUpdated False", "AccountUnlocked", "LoginInfoUpdated True"]
    assert await service.told(id) == LOCKED_BY_FAILURES + unlocked


@pytest.mark.long
@pytest.mark.parametrize("accounts", [1, 100])
async def test_ten_thousand_attempts(service: Service, accounts: int) -> None:
    ids = [await service.user(f"user-{number}") for number in range(accounts)]
    each = 10_000 // accounts
    assert await asyncio.gather(*(service.attack(f"user-{n}", each, right=each) for n in range(accounts))) == [0] * accounts
    for number, id in enumerate(ids):
        assert await service.told(id) == LOCKED_BY_FAILURES + ["LoginInfoUpdated False"] * (each - LIMIT)
        assert not await service.attempt(f"user-{number}", PASSWORD)
        assert await service.attempt(f"user-{number}", PASSWORD, at=NOON + timedelta(minutes=5))


@pytest.mark.parametrize(("name", "failures"), [("nobody", 0), ("ada", 0), ("ada", LIMIT)])
async def test_a_failure_is_answered_no_sooner_than_any_other(service: Service, name: str, failures: int) -> None:
    await service.user("ada")
    await service.attack("ada", failures, right=failures)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LoginFailed):
        await service.login(limits=SLOW).log_in(name, WRONG, None, visit())
    assert loop.time() - began >= SLOW.failure_takes - CLOCK


async def test_a_password_that_is_changed_while_somebody_logs_in_with_it_lets_them_in_no_more(
    service: Service, database: Database
) -> None:
    """However the two interleave: here, the change comes right after the old hash was compared."""
    id = await service.user("ada")
    changed_hash = await service.passwords.hash("another password")

    class Interrupted(Passwords):
        async def matches(self, password: str, hash: str | None) -> bool:
            matches = await super().matches(password, hash)
            change = ChangeUserPassword(changed_by="tester", at=NOON)
            await service.executors[0].execute(request(USER, id, change, credential=changed_hash))
            return matches

    login = service.login(passwords=Interrupted(SWIFT))
    with pytest.raises(LoginFailed):
        await login.log_in("ada", PASSWORD, None, visit())
    with pytest.raises(VersionConflict):
        await login.change_password(id, "another password", "a third password", visit())
    assert await database.fetchval("SELECT count(*) FROM es.sessions") == 0


async def test_a_lock_between_login_and_session_keeps_the_session_closed(service: Service, database: Database) -> None:
    id = await service.user("ada")
    sessions = Sessions(database, days=30, ended_by=["AccountLocked"])
    await service.executors[0].execute(request(USER, id, LockUser(reason="audit", at=NOON)))
    with pytest.raises(SessionEnded):
        await sessions.open(id, 1, NOON)
    assert await sessions.open(id, 2, NOON)


async def test_of_two_who_spend_a_refresh_token_at_once_at_most_one_gets_another_and_the_session_ends(
    service: Service, database: Database
) -> None:
    await service.user("ada")
    login = service.login()
    token = (await login.log_in("ada", PASSWORD, None, visit())).refresh_token
    results = await asyncio.gather(*(login.refresh(token, NOON) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, SessionEnded) for result in results) >= 19
    assert await database.fetchval("SELECT count(*) FROM es.sessions") == 0


async def test_a_session_ends_after_its_days_and_its_row_goes_with_a_later_login(service: Service, database: Database) -> None:
    await service.user("ada")
    login = service.login()
    first, second = [(await login.log_in("ada", PASSWORD, None, visit())).refresh_token for _ in range(2)]
    end = NOON + timedelta(days=30)
    await login.refresh(first, end - timedelta(seconds=1))
    with pytest.raises(SessionEnded):
        await login.refresh(second, end)
    assert await database.fetchval("SELECT count(*) FROM es.sessions") == 1
    await login.log_in("ada", PASSWORD, None, visit(end))
    assert await database.fetchval("SELECT count(*) FROM es.sessions WHERE expires_at <= $1", end) == 0


async def test_a_hash_with_parameters_of_the_past_is_renewed_by_a_login(service: Service, database: Database) -> None:
    id = await service.user("ada")
    service.passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    assert not await service.attempt("ada", WRONG)
    assert "$m=8," in await database.fetchval("SELECT hash FROM es.credentials WHERE stream_id = $1", id)
    assert await service.attempt("ada", PASSWORD)
    assert "$m=16," in await database.fetchval("SELECT hash FROM es.credentials WHERE stream_id = $1", id)
    assert await service.attempt("ada", PASSWORD)


async def test_a_renewed_hash_never_replaces_that_of_another_password(service: Service, database: Database) -> None:
    id = await service.user("ada")
    await Credentials(database).renew(Credential(id, 1, "the hash of the password before"), "its new hash")
    assert await service.attempt("ada", PASSWORD)
