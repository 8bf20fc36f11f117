"""Requests per caller: a bucket of tokens each, refilled steadily.

A bucket is kept as one time, the moment at which it will be full again (the generic cell rate algorithm). With Redis all
processes share the buckets: each takes a few tokens at a time from there, so that most requests need not ask it.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from redis import RedisError
from redis.asyncio import Redis

log = logging.getLogger(__name__)

BURST = 10
"""Seconds' worth of tokens that a bucket holds."""
MOST_CALLERS = 10_000
"""Whose buckets a process remembers; of more, the bucket that was filled up the longest ago is forgotten."""
HANDFUL = 100
"""A process takes this part of a bucket from Redis at a time."""
ROUNDING = 1e-3
"""Of a token: times are not exact to the last bit, and almost a whole token is one."""

TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local interval, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local there = math.floor(burst - (full - now) / interval + tonumber(ARGV[4]))
local taken = math.max(math.min(wanted, there), 0)
if taken > 0 then
    full = full + taken * interval
    redis.call('SET', KEYS[1], string.format('%.6f', full), 'EX', math.ceil(full - now) + 1)
end
return {taken, there - taken, tostring(full - now - (burst - 1) * interval)}
"""


class Taken(msgspec.Struct, frozen=True):
    """What came of asking a bucket for tokens."""

    tokens: int
    """How many it gave."""
    left: int
    """How many it has left."""
    wait: float
    """Seconds until it has another one."""


class Rates:
    """How many requests each caller has left."""

    def __init__(self, per_second: int, redis: Redis | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.burst = per_second * BURST
        self._interval = 1 / per_second
        self._redis = redis
        self._take = redis.register_script(TAKE) if redis else None
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()
        """When the bucket of each caller will be full; the one that was used last is the last."""
        self._in_hand: OrderedDict[str, Taken] = OrderedDict()
        """What this process took from Redis and has not spent."""

    async def spend(self, caller: str) -> Taken:
        """One token of the caller's; none when the bucket is empty."""
        if self._take is None:
            return self._from_own(caller)
        held = self._in_hand.pop(caller, None)
        if held is None:
            held = await self._from_redis(caller)
        if held.tokens > 1:
            self._in_hand[caller] = Taken(held.tokens - 1, held.left, 0)
            if len(self._in_hand) > MOST_CALLERS:
                self._in_hand.popitem(last=False)
        return Taken(min(held.tokens, 1), held.left + max(held.tokens - 1, 0), held.wait)

    def _from_own(self, caller: str) -> Taken:
        now = self._clock()
        full = max(self._full.get(caller, 0.0), now)
        there = int(self.burst - (full - now) / self._interval + ROUNDING)
        if there < 1:
            return Taken(0, 0, full - now - (self.burst - 1) * self._interval)
        self._full[caller] = full + self._interval
        self._full.move_to_end(caller)
        if len(self._full) > MOST_CALLERS:
            self._full.popitem(last=False)
        return Taken(1, there - 1, 0)

    async def _from_redis(self, caller: str) -> Taken:
        assert self._take
        try:
            handful = max(1, self.burst // HANDFUL)
            tokens, left, wait = await self._take(
                keys=[f"hindsight:rate:{caller}"], args=[self._interval, self.burst, handful, ROUNDING]
            )
            return Taken(tokens, left, max(0.0, float(wait)))
        except RedisError as error:
            log.warning("Redis does not answer (%s): this process counts requests by itself meanwhile", error)
            return self._from_own(caller)
