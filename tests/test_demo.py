"""Demo data is believable, obeys the domain's rules and is the same from the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import history
from app.errors import BadInput
from app.eventstore.bulk import Fact, append_bulk
from app.eventstore.codec import Codec
from app.eventstore.store import EventStore
from app.wiring import AGGREGATES

CODEC = Codec(AGGREGATES)


def made(users: int, events: int, seed: int = 1) -> list[Fact]:
    return list(history(CODEC, users=users, events=events, seed=seed))


@given(st.integers(1, 30), st.integers(0, 200), st.integers())
def test_there_are_as_many_users_and_events_as_asked_for(users: int, more_than_needed: int, seed: int) -> None:
    events = 9 + 2 * users + more_than_needed
    facts = made(users, events, seed)
    assert len(facts) == events
    assert Counter(fact.type for fact in facts)["UserCreated"] == users


def test_the_same_seed_makes_the_same_and_another_seed_other_data() -> None:
    assert made(5, 100, seed=7) == made(5, 100, seed=7)
    ids = {fact.event_id for seed in (7, 8) for fact in made(5, 100, seed)}
    assert len(ids) == 200


def test_time_goes_forward_through_several_years() -> None:
    facts = made(20, 400)
    assert all(earlier.occurred_at <= later.occurred_at for earlier, later in pairwise(facts))
    assert (facts[-1].occurred_at - facts[0].occurred_at).days > 5 * 365


def test_everything_that_happens_to_users_happens() -> None:
    types = {fact.type for fact in made(100, 3_000)}
    assert types >= {event.__name__ for event in CODEC.aggregates["User"].events}


def test_too_few_events_for_the_users_are_refused() -> None:
    with pytest.raises(BadInput, match=r"events: 100 users need at least 209"):
        made(100, 150)


@pytest.mark.anyio
async def test_the_log_takes_it_once(store: EventStore) -> None:
    first = await append_bulk(store, made(30, 500))
    again = await append_bulk(store, made(30, 500))
    assert (first.added, again.added) == (500, 0)
    assert await store.head() == 500
