"""Requests per caller: a steady rate, more at once after a while without any, the same for all processes with Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from app.api.rates import BURST, MOST_CALLERS, Rates
from tests.api.conftest import serving

pytestmark = pytest.mark.anyio


class Clock:
    """One that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def spent(rates: Rates, caller: str = "ann") -> int:
    """How many requests the caller can send at once."""
    tokens = 0
    while (await rates.spend(caller)).tokens:
        tokens += 1
    return tokens


async def test_a_bucket_is_emptied_and_filled_again_steadily() -> None:
    clock = Clock()
    rates = Rates(5, clock=clock)
    assert (await rates.spend("ann")).left == 5 * BURST - 1
    assert await spent(rates) == 5 * BURST - 1
    assert await spent(rates, "bob") == 5 * BURST
    assert (await rates.spend("ann")).wait == pytest.approx(0.2)
    clock.now += 1
    assert await spent(rates) == 5
    clock.now += 3600
    assert await spent(rates) == 5 * BURST


async def test_only_so_many_callers_are_remembered() -> None:
    rates = Rates(1, clock=Clock())
    assert await spent(rates, "first") == BURST
    for number in range(MOST_CALLERS):
        await rates.spend(str(number))
    assert await spent(rates, "first") == BURST


async def test_processes_share_the_buckets_by_redis(redis: Redis) -> None:
    processes = [Rates(20, redis), Rates(20, redis)]
    tokens = 0
    while any([bool((await each.spend("ann")).tokens) for each in processes]):
        tokens += 2
    assert 20 * BURST <= tokens <= 20 * BURST * 2
    assert await redis.ttl("hindsight:rate:ann") > 0


async def test_without_the_redis_that_there_should_be_each_counts_by_itself() -> None:
    async with Redis(port=1) as nowhere:
        assert (await Rates(5, nowhere).spend("ann")).tokens == 1


async def test_a_caller_with_no_request_left_is_told_when_to_come_again(url: str) -> None:
    async with serving(url, rate_limit=1) as api:
        document = "{ rateLimit { perSecond burst remaining } }"
        assert (await api.ask(document))["rateLimit"] == {"perSecond": 1, "burst": BURST, "remaining": BURST - 1}
        answers = [await api.http.post("/graphql", json={"query": document}) for _ in range(3 * BURST)]
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert (await api.http.get("/events/stats")).status_code in (200, 429)
        other = {"authorization": api.bearer("other", {"*"}, all_tenants=True)}
        assert "data" in await api.answer(document, other)
    async with serving(url, rate_limit=0) as api:
        assert await api.ask(document) == {"rateLimit": None}
