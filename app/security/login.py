"""Logging in: a password is compared, the attempt is noted in the user's stream, a session is opened.

The domain decides whether somebody gets in. What it must know comes in as values: whether the password matched, when, and
from where. So as many attempts as come at once are decided one after the other, each on what the one before left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from app.domain.aggregate import Stream, existing
from app.domain.names import normalise
from app.domain.user import USER, UserIsDeleted
from app.domain.user_commands import ChangeUserPassword, RecordLogin
from app.domain.user_events import LoginInfoUpdated
from app.errors import LoginElsewhere, LoginFailed, SessionEnded, VersionConflict
from app.eventstore.recorded import RecordedEvent
from app.eventstore.store import EventStore
from app.execute import Executor, Outcome, Request
from app.security.credentials import Credential, Credentials
from app.security.passwords import Passwords
from app.security.sessions import Sessions
from app.security.tokens import Claims, Tokens


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at something: when, by whom and from where."""

    at: datetime
    metadata: Mapping[str, str]
    """What the log keeps about who caused an event."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an attacker may do, and for how long somebody who got in stays in."""

    attempts: int
    """Failures in a row after which an account is locked."""
    lock_minutes: int
    failure_takes: float
    """Seconds. A failure is answered no sooner, so that the time tells nothing about why."""
    access_minutes: int
    """For which an access token is good."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is in: the user's stream, the events that this took, and the tokens that prove it."""

    stream: Stream[Any]
    events: tuple[RecordedEvent, ...] = ()
    access_token: str
    expires_at: datetime
    """When the access token ends."""
    refresh_token: str


class Login:
    """Lets users in, and out."""

    def __init__(
        self,
        store: EventStore,
        executor: Executor,
        credentials: Credentials,
        passwords: Passwords,
        sessions: Sessions,
        tokens: Tokens,
        limits: Limits,
    ) -> None:
        self._store = store
        self._executor = executor
        self._credentials = credentials
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._limits = limits

    async def log_in(self, username: str, password: str, tenant_id: UUID | None, visit: Visit) -> Admitted:
        """Let in who knows the password. Raises LoginFailed, with one message and after one time whatever the reason.

        This and the other ways in raise LoginElsewhere, before anything else, where no key can sign a token.
        """
        self._check_signs()
        async with self._refusing():
            credential = await self._credentials.of_username(normalise(username), tenant_id)
            outcome = await self._attempt(credential, password, visit)
            assert credential, "nobody gets in without"
            refresh_token = await self._sessions.open(outcome.stream.id, credential.version, visit.at)
        return self._admitted(outcome.stream, outcome.events, refresh_token, visit.at)

    async def change_password(self, user_id: UUID, current: str, new: str, visit: Visit) -> Admitted:
        """Give a user another password, who knows the current one; all sessions but a new one end.

        Raises LoginFailed, for not to know it is a failed login, and VersionConflict when anything else happened to the user
        meanwhile: it may have been another password.
        """
        self._check_signs()
        async with self._refusing():
            credential = await self._credentials.of_user(user_id)
            attempt = await self._attempt(credential, current, visit)
            assert credential, "nobody gets in without"
        request = Request(
            aggregate=USER,
            stream_id=user_id,
            command=ChangeUserPassword(changed_by=str(user_id), at=visit.at),
            metadata=visit.metadata,
            expected_version=credential.version + len(attempt.events),
            credential=await self._passwords.hash(new),
        )
        outcome = await self._executor.execute(request)
        refresh_token = await self._sessions.open(user_id, outcome.stream.version, visit.at)
        return self._admitted(outcome.stream, attempt.events + outcome.events, refresh_token, visit.at)

    async def refresh(self, refresh_token: str, at: datetime) -> Admitted:
        """Let in who was in before and has the session's newest refresh token, which is spent by that. Raises SessionEnded."""
        self._check_signs()
        renewed = await self._sessions.renew(refresh_token, at)
        stream = await self._store.load(renewed.user_id)
        return self._admitted(existing(stream), (), renewed.refresh_token, at)

    async def log_out(self, refresh_token: str) -> None:
        """End the session of a refresh token."""
        await self._sessions.end(refresh_token)

    def _check_signs(self) -> None:
        if not self._tokens.can_sign:
            raise LoginElsewhere

    async def _attempt(self, credential: Credential | None, password: str, visit: Visit) -> Outcome:
        """What an attempt came to that succeeded. Raises what means that it did not."""
        hash = credential.hash if credential else None
        matches = await self._passwords.matches(password, hash)
        if credential is None:
            raise LoginFailed
        outcome = await self._note(credential.user_id, matches, visit)
        if not any(isinstance(each.event, LoginInfoUpdated) and each.event.succeeded for each in outcome.events):
            raise LoginFailed
        if hash and self._passwords.is_outdated(hash):
            await self._credentials.renew(credential, await self._passwords.hash(password))
        return outcome

    async def _note(self, user_id: UUID, matches: bool, visit: Visit) -> Outcome:
        """Note the attempt, however many others are noted at this moment: none may go untold. The deadline ends it."""
        command = RecordLogin(
            password_matches=matches,
            lock_after=self._limits.attempts,
            lock_for=timedelta(minutes=self._limits.lock_minutes),
            ip_address=visit.metadata.get("ipAddress"),
            user_agent=visit.metadata.get("userAgent"),
            at=visit.at,
        )
        metadata = {**visit.metadata, "actor": str(user_id)} if matches else visit.metadata
        request = Request(aggregate=USER, stream_id=user_id, command=command, metadata=metadata)
        while True:
            with suppress(VersionConflict):
                return await self._executor.execute(request)

    @asynccontextmanager
    async def _refusing(self) -> AsyncIterator[None]:
        """Makes one answer of all that keeps somebody out."""
        loop = asyncio.get_running_loop()
        no_sooner = loop.time() + self._limits.failure_takes
        try:
            yield
        except (LoginFailed, SessionEnded, UserIsDeleted):
            await asyncio.sleep(no_sooner - loop.time())
            raise LoginFailed(
                f"nobody has this username and password, or the account is locked, as it is for {self._limits.lock_minutes} "
                f"minutes after {self._limits.attempts} failures in a row; a name of several tenants needs a tenantId"
            ) from None

    def _admitted(self, stream: Stream[Any], events: tuple[RecordedEvent, ...], refresh_token: str, at: datetime) -> Admitted:
        expires_at = at + timedelta(minutes=self._limits.access_minutes)
        access_token = self._tokens.sign(Claims(subject=str(stream.id), tenant_id=stream.tenant_id, expires_at=expires_at))
        return Admitted(
            stream=stream, events=events, access_token=access_token, expires_at=expires_at, refresh_token=refresh_token
        )
