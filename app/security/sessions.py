"""Sessions: what remains of a login, prolonged by refresh tokens of which each is good for once.

The practice is that of RFC 9700, 4.14.2: a refresh token that comes again was stolen, from its owner or by them, so the
session ends for both. The table has one row a session, whatever the number of its tokens, and of the newest only a hash.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID, uuid4

from app.errors import SessionEnded
from app.eventstore.database import Database

SECRET = 32
"""Bytes of a secret: so many that a fast hash of it tells nothing."""

# Asked of the log itself at the moment of the decision, so that nobody has to remember to end sessions.
ENDED = """
    EXISTS (SELECT FROM es.events WHERE stream_id = {stream} AND version > {version} AND type = ANY ({types})
        AND position <= (SELECT last_position FROM es.streams WHERE stream_id = {stream})
        AND position >= (SELECT first_position FROM es.streams WHERE stream_id = {stream}))
"""

OPEN = f"""
    WITH outlived AS (
        DELETE FROM es.sessions WHERE session_id IN
            (SELECT session_id FROM es.sessions WHERE expires_at <= $5 ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO es.sessions (session_id, stream_id, version, secret_hash, expires_at)
    SELECT $1::uuid, $2::uuid, $3::int, $4::bytea, $6::timestamptz WHERE NOT {ENDED.format(stream="$2", version="$3", types="$7")}
    RETURNING session_id
"""

ROTATE = f"""
    UPDATE es.sessions s SET secret_hash = $3
     WHERE session_id = $1 AND secret_hash = $2 AND expires_at > $4
       AND NOT {ENDED.format(stream="s.stream_id", version="s.version", types="$5")}
    RETURNING stream_id
"""

END = "DELETE FROM es.sessions WHERE session_id = $1"


class Renewed(NamedTuple):
    """A session's user and its next refresh token."""

    user_id: UUID
    refresh_token: str


class Sessions:
    """Opens, prolongs and ends sessions of at most so many days."""

    def __init__(self, database: Database, *, days: int, ended_by: Sequence[str]) -> None:
        """`ended_by` are the types of the events after which a user's earlier sessions are no more."""
        self._database = database
        self._lasts = timedelta(days=days)
        self._ended_by = ended_by

    async def open(self, user_id: UUID, version: int, at: datetime) -> str:
        """The first refresh token for somebody who was the user when the user's stream had that version.

        Raises SessionEnded when the user has got another password, was locked or deleted since.
        """
        session_id, secret = uuid4(), secrets.token_bytes(SECRET)
        opened = await self._database.fetchval(
            OPEN, session_id, user_id, version, _hash(secret), at, at + self._lasts, self._ended_by
        )
        if opened is None:
            raise SessionEnded
        return _token(session_id, secret)

    async def renew(self, token: str, at: datetime) -> Renewed:
        """Spend a refresh token for the next one.

        Raises SessionEnded when it is none, or the session is no more; a token that was spent before ends the session.
        """
        session_id, secret = _parts(token)
        following = secrets.token_bytes(SECRET)
        user_id = await self._database.fetchval(ROTATE, session_id, _hash(secret), _hash(following), at, self._ended_by)
        if user_id is None:
            await self._database.fetch(END, session_id)
            raise SessionEnded
        return Renewed(user_id, _token(session_id, following))

    async def end(self, token: str) -> None:
        """End the session of a refresh token, if it is one."""
        try:
            session_id, _ = _parts(token)
        except SessionEnded:
            return
        await self._database.fetch(END, session_id)


def _token(session_id: UUID, secret: bytes) -> str:
    return urlsafe_b64encode(session_id.bytes + secret).decode()


def _parts(token: str) -> tuple[UUID, bytes]:
    """Raises SessionEnded for what cannot be a refresh token."""
    try:
        parts = urlsafe_b64decode(token.encode("ascii"))
        return UUID(bytes=parts[:16]), parts[16:]
    except ValueError:
        raise SessionEnded from None


def _hash(secret: bytes) -> bytes:
    return sha256(secret).digest()
