"""One recorded sample of each version of each of the service's events that was ever released, and what it is read as.

A sample is never changed and never removed: logs out there hold it. A new version of an event gets a new sample.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.domain.aggregate import Event
from app.domain.role import ROLE, RoleDefined, RoleRetired
from app.domain.tenant import TENANT, TenantCreated, TenantReactivated, TenantRenamed, TenantSuspended
from app.domain.user import USER
from app.domain.user_events import (
    AccountLocked,
    AccountUnlocked,
    EmailChanged,
    LoginInfoUpdated,
    PasswordChanged,
    PhoneChanged,
    RolesAssigned,
    UserCreated,
    UserDeleted,
    UserRestored,
    UserUpdated,
)
from app.eventstore.codec import Codec

CODEC = Codec([USER, ROLE, TENANT])

ROLE_ID = UUID("0190a8b4-7c3e-7000-8000-000000000001")
UNTIL = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

SAMPLES: list[tuple[int, str, Event]] = [
    (
        1,
        '{"username": "ann", "email": "ann@example.org", "fullName": "Ann Lee", "phone": "+41446681800"}',
        UserCreated(username="ann", email="ann@example.org", full_name="Ann Lee", phone="+41446681800"),
    ),
    (1, '{"username": "ann", "email": "ann@example.org"}', UserCreated(username="ann", email="ann@example.org")),
    (1, '{"fullName": "Ann Lee"}', UserUpdated(full_name="Ann Lee")),
    (1, '{"email": "ann@example.org"}', EmailChanged(email="ann@example.org")),
    (1, '{"phone": "+41446681800"}', PhoneChanged(phone="+41446681800")),
    (1, '{"phone": null}', PhoneChanged()),
    (1, '{"changedBy": "ann"}', PasswordChanged(changed_by="ann")),
    (1, f'{{"roleIds": ["{ROLE_ID}"], "assignedBy": "bob"}}', RolesAssigned(role_ids=(ROLE_ID,), assigned_by="bob")),
    (
        1,
        '{"succeeded": false, "ipAddress": "192.0.2.1", "userAgent": "curl"}',
        LoginInfoUpdated(succeeded=False, ip_address="192.0.2.1", user_agent="curl"),
    ),
    (
        1,
        '{"loginAttempts": 5, "reason": "too many failed logins", "lockedUntil": "2026-03-01T12:30:00Z"}',
        AccountLocked(login_attempts=5, reason="too many failed logins", locked_until=UNTIL),
    ),
    (1, '{"unlockedBy": "expiry"}', AccountUnlocked(unlocked_by="expiry")),
    (1, '{"deletedBy": "bob", "reason": "left"}', UserDeleted(deleted_by="bob", reason="left")),
    (1, '{"restoredBy": "bob"}', UserRestored(restored_by="bob")),
    (1, '{"name": "admin", "permissions": ["user.read"]}', RoleDefined(name="admin", permissions=("user.read",))),
    (1, '{"name": "admin"}', RoleRetired(name="admin")),
    (1, '{"name": "Acme"}', TenantCreated(name="Acme")),
    (1, '{"name": "Acme & Co"}', TenantRenamed(name="Acme & Co")),
    (1, '{"reason": "unpaid"}', TenantSuspended(reason="unpaid")),
    (1, "{}", TenantReactivated()),
]


@pytest.mark.parametrize(("schema_version", "data", "event"), SAMPLES)
def test_a_released_event_is_read_as_it_was_meant(schema_version: int, data: str, event: Event) -> None:
    assert CODEC.decode(type(event).__name__, schema_version, data) == event


def test_every_version_of_every_event_has_a_sample() -> None:
    sampled = {(type(event).__name__, schema_version) for schema_version, _, event in SAMPLES}
    released = {(name, version) for name in CODEC.event_types for version in range(1, CODEC.schema_version(name) + 1)}
    assert sampled == released
