"""What a rebuild writes by its own binary COPY is what asyncpg would have written of the same rows."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event
from app.domain.user import USER
from app.domain.user_events import UserCreated, UserUpdated
from app.errors import UnreadableEvent
from app.eventstore.batcher import Batcher
from app.eventstore.codec import Codec
from app.eventstore.recorded import Excerpt, RecordedEvent
from app.eventstore.store import LONGEST_EXCERPT, EventStore
from projections import roles, tenants, users
from projections.copying import CopyFold, encoder
from projections.engine import ProjectionEngine
from projections.folding import Changes, Fold
from projections.generations import Generation
from projections.projection import AggregateProjection
from projections.writing import Writing
from tests.projections.brittle import damage
from tests.projections.histories import NOON, History, played, steps

pytestmark = pytest.mark.anyio

READ_MODELS = (users.USERS, roles.ROLES, tenants.TENANTS)


@pytest.fixture
async def prepared(store: EventStore) -> EventStore:
    """With the empty first generations of the read models."""
    await ProjectionEngine(store, READ_MODELS).prepare()
    return store


async def excerpts(store: EventStore, after: int, until: int, projection: AggregateProjection[Any]) -> list[Excerpt]:
    return [each async for some in store.excerpts(after, until, projection.reads, 0, 1) for each in some]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps(), cuts=st.lists(st.tuples(st.integers(0, 16), st.booleans()), max_size=3))
async def test_rows_and_spans_are_the_same_wherever_it_pauses(
    prepared: EventStore, batcher: Batcher, steps: list[tuple[int, Event, Event, int]], cuts: list[tuple[int, bool]]
) -> None:
    start = await prepared.head()
    await played(batcher, steps)
    for projection in READ_MODELS:
        events = await prepared.read_share(start, await prepared.head(), projection.reads, 0, 1)
        plain: Fold[Any] = Fold(projection)
        copied: CopyFold[Any] = CopyFold(projection, prepared.codec)
        plain.apply(events)
        expected = plain.take()
        spans, done = [], 0
        for cut, to_the_end in sorted(cuts):
            copied.gather(events[done:cut])
            while copied.fold(1) and to_the_end:
                spans += copied.take_spans()
            done = max(done, cut)
        copied.gather(events[done:])
        copied.fold()
        changes = copied.take()
        if expected is None or changes is None:
            assert expected is changes is None
            continue
        changes.spans.extend(spans)
        await check_written(prepared, projection, changes, expected)


async def check_written(store: EventStore, projection: AggregateProjection[Any], changes: Changes, expected: Changes) -> None:
    """What is written of the changes is what is expected, as values."""
    generation = Generation(projection, 1)
    async with store.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await Writing(generation).copy(connection, changes)
        for table, rows in zip(generation.tables, (expected.added, expected.spans), strict=True):
            written = await connection.fetch(f"SELECT * FROM {table.fullname}")
            assert Counter(map(comparable, written)) == Counter(map(comparable, rows))
        await transaction.rollback()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps(), cuts=st.sets(st.integers(1, 16), max_size=3))
async def test_excerpts_make_the_same_wherever_they_begin_and_end(
    prepared: EventStore, batcher: Batcher, steps: list[tuple[int, Event, Event, int]], cuts: set[int]
) -> None:
    start = await prepared.head()
    await played(batcher, steps)
    head = await prepared.head()
    stops = sorted({min(start + cut, head) for cut in cuts} | {head})
    for projection in READ_MODELS:
        plain: Fold[Any] = Fold(projection)
        copied: CopyFold[Any] = CopyFold(projection, prepared.codec)
        plain.apply(await prepared.read_share(start, head, projection.reads, 0, 1))
        expected = plain.take()
        for after, until in pairwise([start, *stops]):
            for excerpt in await excerpts(prepared, start, until, projection):
                new = excerpt.within(after, until)
                assert new is None or copied.fold_excerpt(new)
        changes = copied.take()
        if expected is None or changes is None:
            assert expected is changes is None
        else:
            await check_written(prepared, projection, changes, expected)


async def test_an_excerpt_is_folded_as_a_whole_or_not_at_all(store: EventStore, batcher: Batcher) -> None:
    created = UserCreated(username="ann", email="ann@example.org")
    history, ann, bob = History(batcher), uuid4(), uuid4()
    await history.add(USER, ann, created, UserUpdated(full_name="Ann"), UserUpdated(full_name="Anna"), tenant_id=uuid4())
    await history.add(USER, bob, created, tenant_id=uuid4())
    await damage(store, position=2)
    folds = {each.stream_id: each for each in await excerpts(store, 0, await store.head(), users.USERS)}
    fold = CopyFold(users.USERS, store.codec)
    assert not fold.fold_excerpt(folds[ann])
    assert fold.take() is None
    assert fold.fold_excerpt(folds[bob])
    fold.parking.closed.add((bob,))
    assert not fold.fold_excerpt(folds[bob]), "its events wait"


async def test_a_long_stream_comes_in_several_excerpts(store: EventStore, batcher: Batcher) -> None:
    history, ann = History(batcher), uuid4()
    later = [UserUpdated(full_name=f"Ann {number}") for number in range(2 * LONGEST_EXCERPT)]
    await history.add(USER, ann, UserCreated(username="ann", email="ann@example.org"), *later, tenant_id=uuid4())
    found = await excerpts(store, 0, history.position, users.USERS)
    assert [event.version for each in found for event in each.events] == list(range(1, 2 * LONGEST_EXCERPT + 2))
    assert [len(each.events) for each in found] == [LONGEST_EXCERPT - 1, LONGEST_EXCERPT, 2]


def comparable(row: Any) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def test_a_column_that_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="there is no binary form of"):
        encoder(sa.Numeric())


@pytest.mark.parametrize("username", ["\ud800", 7], ids=["no Unicode", "no text"])
def test_a_value_that_fits_no_column_is_unreadable(username: Any) -> None:
    event = UserCreated(username=username, email="ann@example.org")
    fold = CopyFold(users.USERS, Codec([USER]))
    fold.apply(
        [
            RecordedEvent(
                position=1,
                event_id=uuid4(),
                stream_id=uuid4(),
                stream_type="User",
                version=1,
                type="UserCreated",
                schema_version=1,
                tenant_id=uuid4(),
                event=event,
                metadata_json="{}",
                occurred_at=NOON,
                recorded_at=NOON,
            )
        ]
    )
    with pytest.raises(UnreadableEvent, match="projection users cannot write a row that it made"):
        fold.take()
