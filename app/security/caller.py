"""Who asks."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

EVERYTHING = "*"
"""The permission that includes all others."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, what they may, and whose data they see."""

    name: str
    """Under it the log keeps what they do. A user's is their id, which nobody can take as a name."""
    user_id: UUID | None = None
    tenant_id: UUID | None = None
    """The tenant whose data the caller sees; see `all_tenants`."""
    all_tenants: bool = False
    permissions: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    """When the token ends that says so; None where there is none."""

    def may(self, permission: str) -> bool:
        """Whether they have the permission."""
        return permission in self.permissions or EVERYTHING in self.permissions


NOBODY = Caller(name="nobody")
OPERATOR = Caller(name="operator", all_tenants=True, permissions=frozenset({EVERYTHING}))
"""Whoever asks where nobody has to say who they are: on the machine itself."""
