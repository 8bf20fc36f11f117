"""Who sends a request, told from the token that it bears."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from app.api.errors import RequestError
from app.api.loaders import Shared
from app.domain.aggregate import Stream
from app.domain.role import ROLE
from app.domain.user import USER, User, UserStatus
from app.eventstore.store import EventStore
from app.security.caller import NOBODY, OPERATOR, Caller
from app.security.tokens import Claims, InvalidToken, Tokens

REMEMBERED = 5.0
"""Seconds that a token's meaning is remembered: so late a withdrawn key, a changed role or a locked user counts."""
MOST_REMEMBERED = 10_000

ASKED_AGAIN = 60.0
"""Seconds after which it is asked again whether a token of long ago still means the same."""

SCHEME = "bearer "


class Known(NamedTuple):
    """A caller, and until when they are known, by the clock of `time.time`."""

    caller: Caller
    until: float


class Callers:
    """Tells callers by their tokens. Without `tokens` nobody is asked for one, and all are the operator."""

    def __init__(self, tokens: Tokens | None, store: EventStore, lookups: Shared) -> None:
        self._tokens = tokens
        self._store = store
        self._lookups = lookups
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        """By the hash of the token, so that the memory of the process holds none."""

    async def sender(self, authorization: str | None) -> Caller:
        """Who sends a request with this header Authorization, nobody without one. Raises RequestError 401, always the same."""
        if self._tokens is None:
            return OPERATOR
        if not authorization:
            return NOBODY
        if authorization[: len(SCHEME)].lower() != SCHEME:
            raise unauthenticated()
        return await self.bearer(authorization[len(SCHEME) :].strip())

    async def bearer(self, token: str) -> Caller:
        """Who bears the token. Raises RequestError 401."""
        if self._tokens is None:
            return OPERATOR
        key = sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or known.until <= time.time():
            known = self._known[key] = await self._told(self._tokens, token)
            self._known.move_to_end(key)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return known.caller

    async def ended(self, authorization: str | None, caller: Caller) -> str:
        """Wait until the header means the caller no more, which ends what was begun for them; why that is."""
        while True:
            left = (caller.expires_at - datetime.now(UTC)).total_seconds() if caller.expires_at else ASKED_AGAIN
            await asyncio.sleep(min(max(left, 1), ASKED_AGAIN))
            try:
                known = await self.sender(authorization)
            except RequestError as error:
                return f"the token is valid no more: {error.message}"
            if known != caller:
                return "what you may do has changed; connect again"

    async def _told(self, tokens: Tokens, token: str) -> Known:
        try:
            claims = await tokens.verify(token)
        except InvalidToken:
            raise unauthenticated() from None
        caller = await self._caller(claims)
        if caller is None:
            raise unauthenticated()
        ends = claims.expires_at + timedelta(seconds=tokens.leeway)
        return Known(caller, min(time.time() + REMEMBERED, ends.timestamp()))

    async def _caller(self, claims: Claims) -> Caller | None:
        """None for a user who is not there, may not log in, or is another tenant's."""
        tenant_id, permissions = claims.tenant_id, claims.permissions or frozenset()
        if claims.user_id is not None:
            user = await self._lookups[USER.stream_type].find(claims.user_id)
            if not _is_active(user):  # the read table may not know yet that the user is there, or that a lock has ended
                user = await self._store.load(claims.user_id)
            if user is None or not _is_active(user):
                return None
            if tenant_id not in (None, user.tenant_id):
                return None
            tenant_id = user.tenant_id
            if claims.permissions is None:
                permissions = await self._of_roles(user.state)
        return Caller(
            name=str(claims.user_id or claims.subject),
            user_id=claims.user_id,
            tenant_id=None if claims.all_tenants else tenant_id,
            all_tenants=claims.all_tenants,
            permissions=permissions,
            expires_at=claims.expires_at,
        )

    async def _of_roles(self, user: User) -> frozenset[str]:
        found = [await self._lookups[ROLE.stream_type].find(id) for id in user.role_ids]
        return frozenset(permission for role in found if role is not None for permission in role.state.permissions)


def _is_active(user: Stream[User] | None) -> bool:
    return user is not None and user.type == USER.stream_type and user.state.status is UserStatus.ACTIVE


def unauthenticated() -> RequestError:
    """The answer to a request without a token that is valid here: it does not tell what is wrong with it (RFC 6750)."""
    challenge = (("www-authenticate", 'Bearer realm="hindsight"'),)
    return RequestError(401, "UNAUTHENTICATED", "this needs a valid token: Authorization: Bearer …", challenge)
