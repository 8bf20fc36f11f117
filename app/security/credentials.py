"""Password hashes, by user or by username. They are written by the appends that tell of them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from app.eventstore.database import Database

COLUMNS = "s.stream_id, s.version, c.hash FROM es.streams s LEFT JOIN es.credentials c USING (stream_id)"

OF_USERNAME = f"""
    SELECT {COLUMNS} JOIN es.claims USING (stream_id)
     WHERE claims.kind = 'username' AND claims.value = $1 AND ($2::uuid IS NULL OR claims.tenant_id = $2) LIMIT 2
"""

OF_USER = f"SELECT {COLUMNS} WHERE s.stream_id = $1"


class Credential(msgspec.Struct, frozen=True):
    """What a user's password is compared with."""

    user_id: UUID
    version: int
    """Of the user's stream when the hash was read."""
    hash: str | None
    """None for a user without a password."""


class Credentials:
    """Reads hashes from the tables that appends write, so that a new user can log in at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_username(self, username: str, tenant_id: UUID | None) -> Credential | None:
        """The hash of the user with that name, in its normal form; None when there is none, or several in different tenants."""
        rows = await self._database.fetch(OF_USERNAME, username, tenant_id)
        return Credential(*rows[0]) if len(rows) == 1 else None

    async def of_user(self, user_id: UUID) -> Credential | None:
        """The hash of the user with that id."""
        row = await self._database.fetchrow(OF_USER, user_id)
        return Credential(*row) if row else None

    async def renew(self, credential: Credential, hash: str) -> None:
        """Replace the hash by another one of the same password, unless the password was changed meanwhile."""
        query = "UPDATE es.credentials SET hash = $3 WHERE stream_id = $1 AND hash = $2"
        await self._database.fetch(query, credential.user_id, credential.hash, hash)
