"""The read models of the service."""

from __future__ import annotations

from typing import Any

from projections.event_stats import EVENT_STATS
from projections.logins import LOGINS
from projections.projection import Projection
from projections.role_members import ROLE_MEMBERS
from projections.roles import ROLES
from projections.tenants import TENANTS
from projections.user_names import USER_NAMES
from projections.users import USERS

PROJECTIONS: tuple[Projection[Any], ...] = (USERS, ROLES, TENANTS, EVENT_STATS, LOGINS, ROLE_MEMBERS, USER_NAMES)
