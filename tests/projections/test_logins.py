"""Attempts to log in: one row each, listed by any condition, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.user import USER
from app.domain.user_events import LoginInfoUpdated, UserCreated
from app.errors import BadInput
from app.eventstore.batcher import Batcher
from app.eventstore.paging import PageRequest
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from projections import logins
from projections.engine import ProjectionEngine
from projections.logins import Login, LoginFilter
from tests.projections.histories import NOON, History

pytestmark = pytest.mark.anyio

RANDOM = Random(11)
TENANT_IDS = [UUID(int=RANDOM.getrandbits(128), version=4) for _ in range(2)]
USER_IDS = [UUID(int=RANDOM.getrandbits(128), version=4) for _ in range(4)]
LENGTH = 60
HOURS = st.integers(-1, LENGTH // 3 + 1).map(lambda hours: NOON + timedelta(hours=hours))


@pytest.fixture
async def attempts(store: EventStore, batcher: Batcher, engine: ProjectionEngine) -> list[Login]:
    """All attempts of a log, three of them at the same moment each, and all in the read table."""
    random, history = Random(5), History(batcher)
    for number in range(LENGTH):
        place, at = random.randrange(len(USER_IDS)), NOON + timedelta(hours=number // 3)
        first = [] if history.begun(USER_IDS[place]) else [UserCreated(username="ann", email="ann@example.org")]
        attempt = LoginInfoUpdated(succeeded=random.random() < 0.7, ip_address=f"192.0.2.{number}", user_agent="curl")
        await history.add(USER, USER_IDS[place], *first, attempt, tenant_id=TENANT_IDS[place % 2], at=at)
    await engine.catch_up()
    return [told(event) for event in await store.read(0, 1000) if event.type == "LoginInfoUpdated"]


def told(recorded: RecordedEvent) -> Login:
    event = recorded.event
    assert isinstance(event, LoginInfoUpdated)
    return Login(
        recorded.stream_id,
        recorded.event_id,
        recorded.tenant_id,
        recorded.position,
        recorded.occurred_at,
        event.succeeded,
        event.ip_address,
        event.user_agent,
    )


def wanted(attempts: Sequence[Login], filter: LoginFilter) -> list[Login]:
    found = [
        each
        for each in attempts
        if filter.user_id in (None, each.user_id)
        and filter.tenant_id in (None, each.tenant_id)
        and filter.succeeded in (None, each.succeeded)
        and (filter.occurred_after is None or each.occurred_at >= filter.occurred_after)
        and (filter.occurred_before is None or each.occurred_at < filter.occurred_before)
        and (filter.up_to_position is None or each.position <= filter.up_to_position)
    ]
    return sorted(found, key=lambda each: (each.occurred_at, each.id), reverse=True)


conditions: dict[str, st.SearchStrategy[Any]] = {
    "user_id": st.sampled_from(USER_IDS),
    "tenant_id": st.sampled_from(TENANT_IDS),
    "succeeded": st.booleans(),
    "occurred_after": HOURS,
    "occurred_before": HOURS,
    "up_to_position": st.integers(0, LENGTH + 5),
}
filters = st.fixed_dictionaries({}, optional=conditions).map(lambda given: LoginFilter(**given))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=filters, size=st.integers(1, 12), backwards=st.booleans())
async def test_pages_hold_each_attempt_that_is_asked_for_once(
    store: EventStore, attempts: list[Login], filter: LoginFilter, size: int, backwards: bool
) -> None:
    found: list[Login] = []
    cursor: str | None = None
    while True:
        request = PageRequest(last=size, before=cursor) if backwards else PageRequest(first=size, after=cursor)
        page = await logins.page(store.database, filter, request)
        found = page.items + found if backwards else found + page.items
        if not (page.has_previous if backwards else page.has_next):
            break
        cursor = page.cursors[0 if backwards else -1]
    assert found == wanted(attempts, filter)
    assert await logins.count(store.database, filter) == len(found)


async def test_a_cursor_of_another_filter_is_refused(store: EventStore, attempts: list[Login]) -> None:
    cursor = (await logins.page(store.database)).cursors[0]
    with pytest.raises(BadInput, match="after: is a cursor of another filter or order"):
        await logins.page(store.database, LoginFilter(succeeded=True), PageRequest(after=cursor))


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ((None, None), ("192.0.2.7", "curl")),
        (("192.0.2.9", None), ("192.0.2.9", "curl")),
        (("192.0.2.9", "Firefox"), ("192.0.2.9", "Firefox")),
    ],
)
def test_where_an_attempt_came_from_is_known_from_its_request_too(
    told: tuple[str | None, str | None], shown: tuple[str, str]
) -> None:
    login = logins.LOGINS.evolve(
        None,
        RecordedEvent(
            position=1,
            event_id=uuid4(),
            stream_id=USER_IDS[0],
            stream_type=USER.stream_type,
            version=1,
            type="LoginInfoUpdated",
            schema_version=1,
            tenant_id=TENANT_IDS[0],
            event=LoginInfoUpdated(succeeded=True, ip_address=told[0], user_agent=told[1]),
            metadata_json='{"ipAddress": "192.0.2.7", "userAgent": "curl"}',
            occurred_at=NOON,
            recorded_at=NOON,
        ),
    )
    assert (login.ip_address, login.user_agent) == shown
