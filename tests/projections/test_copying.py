"""What a rebuild writes by its own binary COPY is what asyncpg would have written of the same rows."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.aggregate import Event
from app.domain.user_events import UserCreated
from app.errors import UnreadableEvent
from app.eventstore.batcher import Batcher
from app.eventstore.recorded import BareEvent, RecordedEvent
from app.eventstore.store import EventStore
from projections import roles, tenants, users
from projections.copying import CopyFold, encoder
from projections.engine import ProjectionEngine
from projections.folding import Fold
from projections.generations import Generation
from projections.projection import AggregateProjection
from projections.writing import Writing
from tests.projections.histories import NOON, played, steps

pytestmark = pytest.mark.anyio

READ_MODELS = (users.USERS, roles.ROLES, tenants.TENANTS)


@pytest.fixture
async def prepared(store: EventStore) -> EventStore:
    """With the empty first generations of the read models."""
    await ProjectionEngine(store, READ_MODELS).prepare()
    return store


async def bare(store: EventStore, after: int, projection: AggregateProjection[Any]) -> list[RecordedEvent]:
    return await store.read_share(after, await store.head(), projection.reads, 0, 1, bare=True)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps(), cuts=st.lists(st.tuples(st.integers(0, 16), st.booleans()), max_size=3))
async def test_rows_and_spans_are_the_same_wherever_it_pauses(
    prepared: EventStore, batcher: Batcher, steps: list[tuple[int, Event, Event, int]], cuts: list[tuple[int, bool]]
) -> None:
    start = await prepared.head()
    await played(batcher, steps)
    for projection in READ_MODELS:
        events = await bare(prepared, start, projection)
        plain: Fold[Any] = Fold(projection)
        copied: CopyFold[Any] = CopyFold(projection)
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
        generation = Generation(projection, 1)
        async with prepared.database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await Writing(generation).copy(connection, changes)
            for table, rows in zip(generation.tables, (expected.added, expected.spans), strict=True):
                written = await connection.fetch(f"SELECT * FROM {table.fullname}")
                assert Counter(map(comparable, written)) == Counter(map(comparable, rows))
            await transaction.rollback()


def comparable(row: Any) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


async def test_a_bare_event_lacks_only_what_it_says(store: EventStore, batcher: Batcher) -> None:
    created = UserCreated(username="ann", email="ann@example.org")
    await played(batcher, [(0, created, created, 0)])
    (event,), (whole,) = await bare(store, 0, users.USERS), await store.read(0, 10)
    assert isinstance(event, BareEvent)
    missing = ("event_id", "metadata_json", "recorded_at")
    for name in RecordedEvent.__struct_fields__:
        if name in missing:
            with pytest.raises(TypeError, match="of a bare event was not read"):
                getattr(event, name)
        else:
            assert getattr(event, name) == getattr(whole, name)


def test_a_column_that_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="there is no binary form of"):
        encoder(sa.Numeric())


@pytest.mark.parametrize("username", ["\ud800", 7], ids=["no Unicode", "no text"])
def test_a_value_that_fits_no_column_is_unreadable(username: Any) -> None:
    event = UserCreated(username=username, email="ann@example.org")
    fold = CopyFold(users.USERS)
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
