"""How many requests a caller has left."""

from __future__ import annotations

import strawberry

from app.api.context import Info
from app.api.fields import field
from app.security.permissions import TOKEN


@strawberry.type(description="How many requests whoever asks may send.")
class RateLimit:
    per_second: int = strawberry.field(description="How many a second in the long run.")
    burst: int = strawberry.field(description="How many at once, after a while without any.")
    remaining: int = strawberry.field(description="How many at once are left now, after this request.")


@strawberry.type
class RateLimitQueries:
    @field("How many requests whoever sends this one has left; null where nobody counts.", needs=TOKEN)
    def rate_limit(self, info: Info) -> RateLimit | None:
        rates = info.context.backend.rates
        if rates is None:
            return None
        return RateLimit(per_second=rates.per_second, burst=rates.burst, remaining=info.context.remaining)
