"""Facts from elsewhere go in as they are, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from app.domain.aggregate import Claim
from app.errors import ImportStopped
from app.eventstore.batcher import Batcher
from app.eventstore.bulk import Bulk, BulkResult, Fact, append_bulk
from app.eventstore.database import Database
from app.eventstore.facts import BadFact
from app.eventstore.store import EventStore
from tests.eventstore.job import NOON, TENANT, JobCompleted, JobCreated, JobStarted, job_append

pytestmark = pytest.mark.anyio

SWEEP, MOP = UUID(int=11), UUID(int=12)


def fact(line: int, type: str, data: str, **more: Any) -> Fact:
    given: dict[str, Any] = {
        "line": line,
        "event_id": UUID(int=100 + line),
        "stream_id": SWEEP,
        "stream_type": "Job",
        "version": line,
        "type": type,
        "tenant_id": TENANT,
        "data": data,
        "metadata": {"actor": "ann"},
        "occurred_at": NOON + timedelta(minutes=line),
    }
    return Fact(**(given | more))


FACTS = [
    fact(1, "JobCreated", '{"name": "sweep"}'),
    fact(2, "JobStarted", '{"worker": "ann"}'),
    fact(3, "JobCreated", '{"name": "mop"}', stream_id=MOP, version=1),
    fact(4, "JobCompleted", '{"result": "clean", "more": [1, {}]}', version=3),
    fact(5, "JobStarted", '{"workerName": "bob"}', stream_id=MOP, version=2, schema_version=2),
    fact(6, "JobCreated", '{"name": "sweep"}', stream_id=UUID(int=13), version=1),
]
STATES = {"sweep": (SWEEP, 3), "mop": (MOP, 2)}


def with_line(line: int, **changes: Any) -> list[Fact]:
    """The facts, with one of them changed."""
    return [msgspec.structs.replace(each, **changes) if each.line == line else each for each in FACTS]


async def counts(database: Database) -> tuple[int, ...]:
    return tuple(
        [await database.fetchval(f"SELECT count(*) FROM es.{table}") for table in ("events", "streams", "claims", "commands")]
    )


@pytest.mark.parametrize("batch", [1, 2, 5000])
async def test_facts_go_in_as_they_are_and_in_their_order(store: EventStore, batcher: Batcher, batch: int) -> None:
    told: list[tuple[int, int]] = []
    result = await append_bulk(store, iter(FACTS), batch=batch, on_progress=lambda seen, added: told.append((seen, added)))
    assert result == BulkResult(seen=6, added=6, position=6)
    assert told[-1] == (6, 6)

    events = await store.read(0, 10)
    assert [(e.position, e.event_id, e.stream_id, e.version, e.type, e.schema_version, e.occurred_at) for e in events] == [
        (f.line, f.event_id, f.stream_id, f.version, f.type, f.schema_version, f.occurred_at) for f in FACTS
    ]
    assert events[1].event == JobStarted(worker_name="ann", attempt=1)
    assert {event.metadata["actor"] for event in events} == {"ann"}
    for stream_id, version in STATES.values():
        stream = await store.load(stream_id)
        assert stream
        assert stream.version == version
    await batcher.append(job_append(JobCompleted(), stream_id=MOP, after=2, releases=frozenset({Claim("jobName", "mop")})))
    assert await store.head() == 7


async def test_data_is_kept_as_it_came(store: EventStore, database: Database) -> None:
    await append_bulk(store, with_line(1, data={"name": "sweep", "unknown": True}))
    stored = await database.fetch("SELECT data FROM es.events WHERE position IN (1, 4) ORDER BY position")
    assert [msgspec.json.decode(row["data"]) for row in stored] == [
        {"name": "sweep", "unknown": True},
        {"result": "clean", "more": [1, {}]},
    ]


@pytest.mark.parametrize("batch", [1, 4, 5000])
async def test_the_same_facts_again_add_nothing(store: EventStore, database: Database, batch: int) -> None:
    await append_bulk(store, FACTS[:3])
    before = await counts(database)
    assert await append_bulk(store, FACTS[:3], batch=batch) == BulkResult(seen=3, added=0, position=3)
    assert await counts(database) == before
    assert await append_bulk(store, FACTS, batch=batch) == BulkResult(seen=6, added=3, position=6)
    assert await append_bulk(store, [*FACTS, *FACTS], batch=batch) == BulkResult(seen=12, added=0, position=6)


async def test_a_fact_that_comes_twice_in_one_go_goes_in_once(store: EventStore) -> None:
    assert (await append_bulk(store, [*FACTS[:2], FACTS[1], *FACTS[2:]])).added == 6


async def test_no_facts_are_no_error(store: EventStore) -> None:
    assert await append_bulk(store, []) == BulkResult(seen=0, added=0, position=0)


BAD: list[tuple[int, dict[str, Any], str]] = [
    (4, {"type": "JobForged"}, "unknown event type 'JobForged'"),
    (4, {"data": '{"result": 5}'}, r"JobCompleted of schema version 1 cannot be read: Expected `str \| null`, got `int`"),
    (1, {"data": "{}"}, "missing required field `name`"),
    (4, {"data": '{"result"'}, "truncated"),
    (4, {"data": b'{"result": "\xff"}'}, "utf-8"),
    (4, {"data": '{"result": "\\u0000"}'}, r"U\+0000"),
    (4, {"data": '{"unknown": 1e999999}'}, "PostgreSQL cannot store it: value overflows numeric format"),
    (4, {"metadata": {"actor": "\0"}}, r"U\+0000"),
    (4, {"schema_version": 2}, "versions 1 to 1"),
    (4, {"version": 4}, f"version 4 of stream {SWEEP} cannot follow its version 2"),
    (4, {"version": 2}, f"version 2 of stream {SWEEP} cannot follow its version 2"),
    (3, {"version": 2}, f"version 2 cannot be the first of stream {MOP}"),
    (4, {"occurred_at": NOON}, "before the last event of stream"),
    (4, {"occurred_at": datetime(2026, 3, 1)}, "has no offset"),  # noqa: DTZ001 - that is the mistake
    (4, {"tenant_id": UUID(int=2)}, f"stream {SWEEP} is a Job of tenant {TENANT}"),
    (4, {"stream_type": "Task"}, "JobCompleted is no event of a Task"),
    (4, {"event_id": UUID(int=101)}, f"is in the log already, as version 1 of stream {SWEEP}"),
    (3, {"type": "JobStarted", "data": '{"worker": "ann"}'}, "JobStarted cannot follow in stream .*: AssertionError"),
    (3, {"data": '{"name": "sweep"}'}, f"jobName 'sweep' is already taken, by stream {SWEEP}"),
]


@pytest.mark.parametrize(("line", "changes", "reason"), BAD)
async def test_a_bad_fact_stops_the_import(
    store: EventStore, database: Database, line: int, changes: dict[str, Any], reason: str
) -> None:
    kept = 2 if line > 2 else 0
    with pytest.raises(ImportStopped, match=reason) as stopped:
        await append_bulk(store, with_line(line, **changes), batch=2)
    assert (stopped.value.line, stopped.value.imported) == (line, kept)
    assert await store.head() == kept
    assert await append_bulk(store, FACTS) == BulkResult(seen=6, added=6 - kept, position=6)
    assert await counts(database) == (6, 3, 2, 0)


async def test_the_first_of_two_bad_facts_is_named(store: EventStore) -> None:
    taken_then_gap = [FACTS[0], *with_line(3, data='{"name": "sweep"}')[2:3], *with_line(4, version=9)[3:]]
    with pytest.raises(ImportStopped, match="already taken") as stopped:
        await append_bulk(store, taken_then_gap)
    assert stopped.value.line == 3


async def test_a_line_that_cannot_be_read_stops_the_import_after_the_ones_before_it(store: EventStore) -> None:
    def lines() -> Iterator[Fact]:
        yield from FACTS[:3]
        raise ImportStopped(4, "not JSON", 0)

    with pytest.raises(ImportStopped, match="line 4: not JSON; 3 events went in before and stay") as stopped:
        await append_bulk(store, lines(), batch=2)
    assert stopped.value.imported == 3
    assert await store.head() == 3


async def test_what_others_append_between_two_batches_is_seen(store: EventStore, batcher: Batcher) -> None:
    bulk = Bulk(store)
    await bulk.append(FACTS[:1])
    await batcher.append(job_append(JobStarted(worker_name="cleo", attempt=7), stream_id=SWEEP, after=1))
    await bulk.append(FACTS[3:4])
    with pytest.raises(BadFact, match=f"version 2 of stream {SWEEP} cannot follow its version 3"):
        await bulk.append(FACTS[1:2])

    stream = await store.load(SWEEP)
    assert stream
    assert (stream.version, stream.state.attempt) == (3, 7)


async def test_claims_held_before_the_import_are_respected(store: EventStore, batcher: Batcher) -> None:
    holder = job_append(JobCreated(name="mop"), takes=frozenset({Claim("jobName", "mop")}), stream_id=uuid4())
    await batcher.append(holder)
    with pytest.raises(ImportStopped, match=f"jobName 'mop' is already taken, by stream {holder.stream_id}") as stopped:
        await append_bulk(store, FACTS)
    assert (stopped.value.line, stopped.value.imported) == (3, 0)
