"""Who asks."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from app.security.permissions import EVERYTHING, INCLUDED, Needs

NO_TENANT = UUID(int=0)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, what they may, and whose data they see."""

    name: str
    """Under it the log keeps what they do. A user's is their id, which nobody can take as a name."""
    user_id: UUID | None = None
    tenant_id: UUID | None = None
    """The one tenant whose data they see; None for all, or none: see `all_tenants`."""
    all_tenants: bool = False
    permissions: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    """When the token ends that says so; None where there is none."""

    @property
    def within(self) -> UUID | None:
        """The tenant beyond which they see nothing; None for who sees all."""
        return None if self.all_tenants else self.tenant_id or NO_TENANT

    def may(self, permission: str) -> bool:
        """Whether they have the permission, or one that includes it."""
        held = self.permissions
        return EVERYTHING in held or permission in held or not held.isdisjoint(INCLUDED.get(permission, ()))

    def lacks(self, needs: Needs) -> str:
        """What they lack for it, in a sentence; nothing if they may."""
        if missing := [permission for permission in needs.permissions if not self.may(permission)]:
            return f"this needs the permission {' and '.join(sorted(missing))}"
        if needs.everywhere and not self.all_tenants:
            return "this concerns all tenants, and needs a token for all of them"
        return ""


NOBODY = Caller(name="nobody")
"""Whoever did not say who they are."""
OPERATOR = Caller(name="operator", all_tenants=True, permissions=frozenset({EVERYTHING}))
"""Whoever asks where nobody has to say who they are: on the machine itself."""
