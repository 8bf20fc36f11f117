"""Permissions: their names, and what an operation needs of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

EVERYTHING = "*"
"""The permission that includes all others."""

EVENT_READ = "event.read"
USER_READ = "user.read"
USER_WRITE = "user.write"
USER_RESTORE = "user.restore"
ROLE_WRITE = "role.write"
TENANT_WRITE = "tenant.write"
PROJECTION_MANAGE = "projection.manage"
AUDIT_READ = "audit.read"
SCHEMA_READ = "schema.read"

INCLUDED: Mapping[str, frozenset[str]] = {USER_READ: frozenset({EVENT_READ})}
"""By permission, those that include it: events tell all that users, roles and tenants are."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to be allowed something."""

    permissions: frozenset[str] = frozenset()
    everywhere: bool = False
    """It concerns all tenants, and takes a token for all of them."""
    own: str = ""
    """The argument with the id of a user, who needs no permission for it."""
    open: bool = False
    """Nobody need say who they are."""

    def __or__(self, other: Needs) -> Needs:
        """What it takes for both."""
        return Needs(permissions=self.permissions | other.permissions, everywhere=self.everywhere or other.everywhere)


def needs(*permissions: str, everywhere: bool = False, own: str = "") -> Needs:
    """What a field takes besides a valid token; see Needs."""
    return Needs(permissions=frozenset(permissions), everywhere=everywhere, own=own)


TOKEN = needs()
"""A valid token will do; of a field within an object, whatever it took to get at the object."""
OPEN = Needs(open=True)
OVER_PROJECTIONS = needs(PROJECTION_MANAGE, everywhere=True)
"""Read tables hold all tenants' rows."""
