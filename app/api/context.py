"""What one operation carries: who asks, from where, when, and the view of the database that its fields share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import ceil
from uuid import UUID

import strawberry
from uuid_utils import uuid7

from app.api.callers import Callers
from app.api.errors import RequestError
from app.api.loaders import READ_MODELS, Loaders, Shared
from app.api.rates import Rates
from app.eventstore.database import Reads
from app.eventstore.feed import Feed
from app.eventstore.recorded_reads import RecordedRead, RecordedReads
from app.eventstore.store import EventStore
from app.execute import Executor
from app.security.caller import NOBODY, OPERATOR, Caller
from app.security.login import Login
from app.security.passwords import Passwords
from app.security.permissions import SCHEMA_READ
from app.security.tokens import Tokens
from projections.engine import ProjectionEngine


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of the service that the API uses, and how long they may take."""

    store: EventStore
    executor: Executor
    engine: ProjectionEngine
    feed: Feed
    passwords: Passwords
    login: Login
    callers: Callers
    tokens: Tokens
    recorded_reads: RecordedReads
    lookups: Shared
    walled: bool
    """Whether row-level security stands behind what a token for one tenant reads."""
    wait: float
    """Seconds that a read waits at most for a position."""
    rebuild: Callable[[str, int, bool], Awaitable[None]]
    """Begins the rebuild of a projection by so many workers, and whether rows may differ then."""
    deadline: float
    """Seconds after which a request is given up."""
    rates: Rates | None
    """How many requests each caller has left; None when nobody counts."""
    cost_limit: int
    """What an operation may cost."""
    open_schema: bool
    """Everybody who may ask at all may ask for the schema."""


# The log keeps some headers for ever; this much of one is enough.
LONGEST_HEADER = 500


class Context:
    """One operation's, never kept longer: its loaders remember what they read."""

    def __init__(self, backend: Backend, headers: Mapping[str, str], address: str | None, caller: Caller = NOBODY) -> None:
        self.backend = backend
        self._loaders: Loaders | None = None
        self.act_for(caller)
        self.projected = 0
        """A position that every read model had reached when the operation began."""
        self.position = backend.engine.reached(READ_MODELS)
        """How far into the log the answer reaches; a header and an extension of the answer say it."""
        self.head: int | None = None
        """The end of the log; known when the request names positions."""
        self.price = 0
        """What the operation costs; 0 while that is not known."""
        self.remaining = 0
        """Requests that the caller may send at once after this one; known when they are counted."""
        self._headers = headers
        self._address = address

    @property
    def shown_position(self) -> int:
        """The position, but for who has not said who they are: it would tell them whether a failed login was noted."""
        return 0 if self.caller is NOBODY else self.position

    @cached_property
    def request_id(self) -> str:
        return self._header("x-request-id") or str(uuid7())

    @cached_property
    def at(self) -> datetime:
        """The one reading of the clock: every command of this operation was asked at this moment."""
        return datetime.now(UTC)

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """What the log keeps with each event about who caused it."""
        known = {
            "actor": self.caller.name,
            "correlationId": self._header("x-correlation-id") or self.request_id,
            "causationId": self._header("x-causation-id"),
            "ipAddress": self._address,
            "userAgent": self._header("user-agent"),
        }
        return {key: value for key, value in known.items() if value}

    @property
    def loaders(self) -> Loaders:
        if self._loaders is None:
            self._loaders = Loaders(self.store, self.reads, self.projected, self.backend.lookups, self.caller.within)
        return self._loaders

    async def authenticate(self) -> None:
        """Find out who asks, by the header Authorization. Raises RequestError 401."""
        self.act_for(await self.backend.callers.sender(self._headers.get("authorization")))

    async def count(self) -> None:
        """Let the request be one of the caller's. Raises RequestError 429 when they have none left."""
        rates = self.backend.rates
        if rates is None:
            return
        taken = await rates.spend(self.sender)
        self.remaining = taken.left
        if not taken.tokens:
            message = f"{rates.per_second} requests a second are yours in the long run, and {rates.burst} at once; send fewer"
            raise RequestError(429, "RATE_LIMITED", message, (("retry-after", str(ceil(taken.wait) or 1)),))

    @property
    def sender(self) -> str:
        """Whose requests are counted together: a caller's, by name; those of the nameless by their address."""
        return self._address or "" if self.caller in (NOBODY, OPERATOR) else f"{self.caller.within}/{self.caller.name}"

    @property
    def sees_schema(self) -> bool:
        """Whether the caller may learn names that they did not know."""
        return self.backend.open_schema or self.caller.may(SCHEMA_READ)

    def act_for(self, caller: Caller) -> None:
        """From here on everything that the operation reads is what the caller may see: one tenant's data, or all."""
        self.caller = caller
        everything, within = self.backend.store, caller.within
        self.store: EventStore = everything if within is None else everything.of_tenant(within, walled=self.backend.walled)
        self.reads: Reads = self.store.database
        self._loaders = None

    async def outlived(self) -> str:
        """Wait until the caller's token is valid no more, or means another caller; the reason why."""
        return await self.backend.callers.ended(self._headers.get("authorization"), self.caller)

    def _header(self, name: str) -> str:
        return self._headers.get(name, "")[:LONGEST_HEADER]

    async def tenant_of(self, stream_id: UUID) -> UUID | None:
        """The tenant that a stream belongs to; None when there is no such stream."""
        found = (await self.store.stream_types([stream_id])).get(stream_id)
        return found[1] if found else None

    async def record_read(self, fields: Collection[str], subjects: Collection[UUID]) -> None:
        """Keep that the caller looks at these things."""
        read = RecordedRead(
            read_at=self.at,
            reader=self.caller.name,
            tenant_id=self.caller.within,
            fields=fields,
            subjects=subjects,
            request_id=self.request_id,
            ip_address=self._address,
        )
        await self.backend.recorded_reads.note(read)

    def wrote(self, position: int) -> None:
        """A command of this operation left the log at the position: what was read before it is out of date."""
        self.position = max(self.position, position)
        self._loaders = None


@dataclass
class Info(strawberry.Info[Context, None]):
    """What a field's method is told about the request, and what it is asked for."""

    columns: frozenset[str] | None = None
    """Of a list's items nothing is asked for but these columns of the read table; None when it is more, or not known."""
