"""The one write path against a real log: what a client may rely on when others write too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from uuid_utils.compat import uuid7

from app.domain.aggregate import Aggregate, Event, Others
from app.domain.role import ROLE, DefineRole, RetireRole, RoleIsRetired
from app.domain.tenant import TENANT, CreateTenant, SuspendTenant, TenantIsSuspended
from app.domain.user import USER
from app.domain.user_commands import AssignRoles, ChangeUserEmail, CreateUser, DeleteUser, RestoreUser, UpdateUserProfile
from app.errors import AlreadyTaken, IdempotencyMismatch, NotFound, VersionConflict
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.database import Database
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from app.execute import Executor, Request

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def executor(store: EventStore, batcher: Batcher) -> Executor:
    return Executor(store, batcher)


def request(aggregate: Aggregate[Any, Any, Any], stream_id: UUID, command: Any, **given: Any) -> Request:
    return Request(aggregate=aggregate, stream_id=stream_id, command=command, metadata={"actor": "tester"}, **given)


def create_tenant(tenant_id: UUID) -> Request:
    return request(TENANT, tenant_id, CreateTenant(name="Lighthouse", at=NOON), tenant_id=tenant_id)


def create_user(tenant_id: UUID, name: str, *, role_ids: tuple[UUID, ...] = (), **given: Any) -> Request:
    command = CreateUser(
        tenant_id=tenant_id,
        username=name,
        email=f"{name}@example.com",
        full_name=None,
        phone=None,
        role_ids=role_ids,
        created_by="tester",
        at=NOON,
    )
    return request(USER, uuid7(), command, tenant_id=tenant_id, **given)


@pytest.fixture
async def tenant_id(executor: Executor) -> UUID:
    tenant_id = uuid7()
    await executor.execute(create_tenant(tenant_id))
    return tenant_id


@pytest.fixture
async def ada(executor: Executor, tenant_id: UUID) -> UUID:
    return (await executor.execute(create_user(tenant_id, "ada"))).stream.id


def rename(user_id: UUID, name: str, aggregate: Aggregate[Any, Any, Any] = USER, **given: Any) -> Request:
    return request(aggregate, user_id, UpdateUserProfile(full_name=name, at=NOON), **given)


async def test_the_outcome_is_what_the_log_holds(executor: Executor, store: EventStore, tenant_id: UUID) -> None:
    role_id = uuid7()
    await executor.execute(
        request(ROLE, role_id, DefineRole(tenant_id=tenant_id, name="admin", permissions=("*",), at=NOON), tenant_id=tenant_id)
    )
    outcome = await executor.execute(create_user(tenant_id, "ada", role_ids=(role_id,)))
    assert [event.type for event in outcome.events] == ["UserCreated", "RolesAssigned"]
    assert told(outcome.events) == told(await store.stream_events(outcome.stream.id, 1, 2))
    assert outcome.stream == await store.load(outcome.stream.id)
    assert outcome.stream.position == await store.head()


async def test_a_command_that_changes_nothing_writes_nothing(executor: Executor, store: EventStore, ada: UUID) -> None:
    await executor.execute(rename(ada, "Ada"))
    head = await store.head()
    again = await executor.execute(rename(ada, "Ada"))
    assert (again.events, again.stream.version, await store.head()) == ((), 2, head)


async def test_a_version_that_the_client_named_must_be_the_stream_s(executor: Executor, store: EventStore, ada: UUID) -> None:
    await executor.execute(rename(ada, "Ada", expected_version=1))
    head = await store.head()
    with pytest.raises(VersionConflict) as conflict:
        await executor.execute(rename(ada, "Countess", expected_version=1))
    assert (conflict.value.stream_id, conflict.value.expected, conflict.value.actual) == (ada, 1, 2)
    assert await store.head() == head


async def test_sixty_four_writers_of_one_stream_all_get_through(executor: Executor, store: EventStore, ada: UUID) -> None:
    outcomes = await asyncio.gather(*(executor.execute(rename(ada, f"Name {number}")) for number in range(64)))
    assert sorted(outcome.stream.version for outcome in outcomes) == list(range(2, 66))


class TestWithAnotherWriterInBetween:
    """The other writer is another process in all but name: its own thread, loop and connections, run inside `decide`,
    which is after the load and before the append."""

    async def test_the_command_is_decided_again_on_the_new_state(
        self, executor: Executor, store: EventStore, url: str, ada: UUID
    ) -> None:
        racing = disturbed(USER, once(lambda: elsewhere(url, rename(ada, "Countess"))))
        outcome = await executor.execute(rename(ada, "Ada", aggregate=racing))
        history = await store.stream_events(ada, 2, 3)
        assert [getattr(each.event, "full_name", None) for each in history] == ["Countess", "Ada"]
        assert outcome.stream.version == 3

    async def test_but_not_when_the_client_named_the_version(self, executor: Executor, url: str, ada: UUID) -> None:
        racing = disturbed(USER, once(lambda: elsewhere(url, rename(ada, "Countess"))))
        with pytest.raises(VersionConflict):
            await executor.execute(rename(ada, "Ada", aggregate=racing, expected_version=1))

    async def test_a_role_that_is_retired_meanwhile_is_not_given(
        self, executor: Executor, store: EventStore, url: str, tenant_id: UUID, ada: UUID
    ) -> None:
        role_id = uuid7()
        define = DefineRole(tenant_id=tenant_id, name="admin", permissions=(), at=NOON)
        await executor.execute(request(ROLE, role_id, define, tenant_id=tenant_id))
        racing = disturbed(USER, once(lambda: elsewhere(url, request(ROLE, role_id, RetireRole(at=NOON)))))
        assign = AssignRoles(tenant_id=tenant_id, role_ids=(role_id,), assigned_by="tester", at=NOON)
        with pytest.raises(RoleIsRetired):
            await executor.execute(request(racing, ada, assign))
        found = await store.load(ada)
        assert found is not None
        assert found.version == 1

    async def test_a_tenant_that_is_suspended_meanwhile_takes_no_user(
        self, executor: Executor, url: str, tenant_id: UUID
    ) -> None:
        suspend = request(TENANT, tenant_id, SuspendTenant(reason="unpaid", at=NOON))
        racing = disturbed(USER, once(lambda: elsewhere(url, suspend)))
        with pytest.raises(TenantIsSuspended):
            await executor.execute(msgspec.structs.replace(create_user(tenant_id, "bob"), aggregate=racing))

    async def test_who_always_loses_is_told(self, executor: Executor, url: str, ada: UUID) -> None:
        names = iter(range(1000))
        racing = disturbed(USER, lambda: elsewhere(url, rename(ada, f"Name {next(names)}")))
        with pytest.raises(VersionConflict):
            await executor.execute(rename(ada, "Ada", aggregate=racing))


class TestTurns:
    async def test_commands_that_follow_one_another_do_not_read_their_stream_again(
        self, executor: Executor, database: Database, ada: UUID
    ) -> None:
        statements: list[str] = []
        async with AsyncExitStack() as held:
            for _ in range(database.pool.get_max_size()):
                connection = await held.enter_async_context(database.connection())
                connection.add_query_logger(lambda record: statements.append(record.query))
        at_once = await asyncio.gather(*(executor.execute(rename(ada, f"Name {number}")) for number in range(50)))
        later = [await executor.execute(rename(ada, f"Other {number}")) for number in range(2)]
        assert [outcome.stream.version for outcome in [*at_once, *later]] == list(range(2, 54))
        assert statements == []

    async def test_what_another_process_wrote_in_between_is_seen(self, executor: Executor, url: str, ada: UUID) -> None:
        delete = request(USER, ada, DeleteUser(deleted_by="tester", reason=None, at=NOON))
        restore = request(USER, ada, RestoreUser(restored_by="tester", at=NOON))
        late = preceded(USER, once(lambda: elsewhere(url, restore)))
        _, renamed = await asyncio.gather(executor.execute(delete), executor.execute(rename(ada, "Ada", aggregate=late)))
        assert [event.type for event in renamed.events] == ["UserUpdated"]
        assert renamed.stream.version == 4

    async def test_nothing_to_do_is_said_of_the_newest_state_only(self, executor: Executor, url: str, ada: UUID) -> None:
        late = preceded(USER, once(lambda: elsewhere(url, rename(ada, "Countess"))))
        _, renamed = await asyncio.gather(
            executor.execute(rename(ada, "Ada")), executor.execute(rename(ada, "Ada", aggregate=late))
        )
        assert (renamed.stream.version, renamed.stream.state.full_name) == (4, "Ada")

    async def test_a_version_that_the_client_named_is_that_of_the_newest_state(
        self, executor: Executor, url: str, ada: UUID
    ) -> None:
        late = preceded(USER, once(lambda: elsewhere(url, rename(ada, "Countess"))))
        _, renamed, last = await asyncio.gather(
            executor.execute(rename(ada, "Ada")),
            executor.execute(rename(ada, "Lovelace", aggregate=late)),
            executor.execute(rename(ada, "Ada", expected_version=4)),
        )
        assert (renamed.stream.version, last.stream.version) == (4, 5)


class TestIdempotency:
    async def test_the_first_answer_comes_again(self, executor: Executor, store: EventStore, ada: UUID) -> None:
        key: dict[str, Any] = {"command_id": uuid7(), "request_hash": b"1"}
        first = await executor.execute(rename(ada, "Ada", **key))
        await executor.execute(rename(ada, "Countess"))
        head = await store.head()
        again = await executor.execute(rename(ada, "Ada", **key))
        assert (again.stream, told(again.events), again.replayed) == (first.stream, told(first.events), True)
        assert await store.head() == head

    async def test_even_when_the_rules_would_refuse_it_by_now(self, executor: Executor, ada: UUID) -> None:
        delete = request(USER, ada, DeleteUser(deleted_by="tester", reason=None, at=NOON), command_id=uuid7(), expected_version=1)
        first = await executor.execute(delete)
        assert told((await executor.execute(delete)).events) == told(first.events)

    async def test_even_when_it_changed_nothing_the_first_time(self, executor: Executor, store: EventStore, ada: UUID) -> None:
        await executor.execute(rename(ada, "Ada"))
        key: dict[str, Any] = {"command_id": uuid7(), "request_hash": b"1"}
        await executor.execute(rename(ada, "Ada", **key))
        await executor.execute(rename(ada, "Countess"))
        again = await executor.execute(rename(ada, "Ada", **key))
        assert (again.events, again.stream.state.full_name) == ((), "Ada")
        found = await store.load(ada)
        assert found is not None
        assert found.state.full_name == "Countess"

    async def test_a_new_stream_keeps_its_first_id(self, executor: Executor, tenant_id: UUID) -> None:
        key: dict[str, Any] = {"command_id": uuid7(), "request_hash": b"1"}
        first = await executor.execute(create_user(tenant_id, "bob", **key))
        again = await executor.execute(create_user(tenant_id, "bob", **key))
        assert again.stream == first.stream

    async def test_two_at_once_are_one(self, executor: Executor, store: EventStore, tenant_id: UUID) -> None:
        key: dict[str, Any] = {"command_id": uuid7(), "request_hash": b"1"}
        head = await store.head()
        outcomes = await asyncio.gather(*(executor.execute(create_user(tenant_id, "bob", **key)) for _ in range(8)))
        assert len({outcome.stream.id for outcome in outcomes}) == 1
        assert sorted(outcome.replayed for outcome in outcomes) == [False] + [True] * 7
        assert await store.head() == head + 1

    async def test_another_input_under_the_same_key_is_refused(self, executor: Executor, store: EventStore, ada: UUID) -> None:
        command_id = uuid7()
        await executor.execute(rename(ada, "Ada", command_id=command_id, request_hash=b"1"))
        head = await store.head()
        with pytest.raises(IdempotencyMismatch):
            await executor.execute(rename(ada, "Countess", command_id=command_id, request_hash=b"2"))
        assert await store.head() == head


class TestManyTogether:
    async def test_all_go_in(self, executor: Executor, store: EventStore, tenant_id: UUID) -> None:
        head = await store.head()
        outcomes = await executor.execute_all([create_user(tenant_id, f"user{number}") for number in range(1000)])
        assert [outcome.stream.position for outcome in outcomes] == list(range(head + 1, head + 1001))

    async def test_or_none_and_the_error_says_which(
        self, executor: Executor, store: EventStore, tenant_id: UUID, ada: UUID
    ) -> None:
        head = await store.head()
        with pytest.raises(AlreadyTaken) as taken:
            await executor.execute_all([create_user(tenant_id, name) for name in ("bob", "cyd", "ADA", "dee")])
        assert (taken.value.kind, taken.value.index) == ("email", 2)
        assert await store.head() == head

    async def test_two_of_one_name_do_not_go_together(self, executor: Executor, tenant_id: UUID) -> None:
        with pytest.raises(AlreadyTaken) as taken:
            await executor.execute_all([create_user(tenant_id, name) for name in ("bob", "cyd", "bob")])
        assert taken.value.index == 2

    async def test_a_refusal_says_which_too(self, executor: Executor, tenant_id: UUID) -> None:
        with pytest.raises(NotFound) as missing:
            await executor.execute_all([create_user(tenant_id, "bob"), rename(uuid7(), "Nobody")])
        assert missing.value.index == 1


class TestWhatIsNotThere:
    async def test_no_stream(self, executor: Executor) -> None:
        nobody = uuid7()
        with pytest.raises(NotFound, match=f"there is no user {nobody}"):
            await executor.execute(rename(nobody, "Nobody"))

    async def test_a_stream_of_another_type(self, executor: Executor, tenant_id: UUID) -> None:
        with pytest.raises(NotFound, match="there is no user"):
            await executor.execute(rename(tenant_id, "Nobody"))

    async def test_a_stream_of_another_tenant(self, executor: Executor, tenant_id: UUID, ada: UUID) -> None:
        with pytest.raises(NotFound):
            await executor.execute(rename(ada, "Ada", tenant_id=uuid7()))


async def test_a_password_hash_is_kept_beside_the_log_and_never_in_it(
    executor: Executor, store: EventStore, database: Database, tenant_id: UUID
) -> None:
    outcome = await executor.execute(create_user(tenant_id, "ada", credential="$argon2id$secret"))
    kept = await database.fetchval("SELECT hash FROM es.credentials WHERE stream_id = $1", outcome.stream.id)
    logged = await database.fetchval("SELECT count(*) FROM es.events WHERE data::text || metadata::text LIKE '%argon2id%'")
    assert (kept, logged) == ("$argon2id$secret", 0)


async def test_an_email_address_moves_from_one_user_to_another(executor: Executor, tenant_id: UUID, ada: UUID) -> None:
    bob = (await executor.execute(create_user(tenant_id, "bob"))).stream.id
    with pytest.raises(AlreadyTaken):
        await executor.execute(request(USER, bob, ChangeUserEmail(email="ADA@example.com", at=NOON)))
    await executor.execute(request(USER, ada, ChangeUserEmail(email="lovelace@example.com", at=NOON)))
    moved = await executor.execute(request(USER, bob, ChangeUserEmail(email="ADA@example.com", at=NOON)))
    assert moved.stream.state.email == "ADA@example.com"


def told(events: Iterable[RecordedEvent]) -> list[tuple[RecordedEvent, dict[str, Any]]]:
    """The events with their metadata as a value: PostgreSQL spaces JSON in its own way."""
    return [(msgspec.structs.replace(event, metadata_json=""), event.metadata) for event in events]


def disturbed(aggregate: Aggregate[Any, Any, Any], disturb: Callable[[], object]) -> Aggregate[Any, Any, Any]:
    """The aggregate, with something that happens while it decides."""

    def decide(command: Any, state: Any, others: Others) -> Iterable[Event]:
        events = tuple(aggregate.decide(command, state, others))
        disturb()
        return events

    return msgspec.structs.replace(aggregate, decide=decide)


def preceded(aggregate: Aggregate[Any, Any, Any], happens: Callable[[], object]) -> Aggregate[Any, Any, Any]:
    """The aggregate, with something that happens before it decides and after the state was read upon which it does."""

    def decide(command: Any, state: Any, others: Others) -> Iterable[Event]:
        happens()
        return aggregate.decide(command, state, others)

    return msgspec.structs.replace(aggregate, decide=decide)


def once(act: Callable[[], object]) -> Callable[[], object]:
    """Does it the first time only."""
    left = [act]
    return lambda: left.pop()() if left else None


def elsewhere(url: str, command: Request) -> None:
    """Carries out a command through connections of its own, and returns when it is committed."""

    async def carry_out() -> None:
        database = await Database.open(url)
        store = EventStore(database, Codec([USER, ROLE, TENANT]))
        async with Batcher(database, store.codec) as batcher:
            await Executor(store, batcher).execute(command)
        await database.close()

    run_in_thread(carry_out())


def run_in_thread(work: Coroutine[Any, Any, None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed, failed
