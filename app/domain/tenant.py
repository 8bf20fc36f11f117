"""A tenant: an organisation whose users, roles and names are its own."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, assert_never, get_args
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from app.domain import names
from app.domain.aggregate import Aggregate, Command, Event, Others, begun, existing
from app.errors import Refusal

LONGEST_NAME = 200
LONGEST_REASON = 1000


# Events


class TenantCreated(Event):
    """A tenant was created; it may have users and roles from now on."""

    name: Annotated[str, Meta(description="What the tenant is called.")]


class TenantRenamed(Event):
    """The tenant got another name."""

    name: Annotated[str, Meta(description="What the tenant is called from now on.")]


class TenantSuspended(Event):
    """The tenant was suspended, or the reason for its suspension changed; it takes no new users until it is reactivated."""

    reason: Annotated[str, Meta(description="Why the tenant is suspended.")]


class TenantReactivated(Event):
    """The suspension ended; the tenant takes new users again."""


TenantEvent = TenantCreated | TenantRenamed | TenantSuspended | TenantReactivated


# Commands


class CreateTenant(Command):
    """Create a tenant. Its stream's tenant is the stream itself."""

    name: str


class RenameTenant(Command):
    """Give the tenant another name."""

    name: str


class SuspendTenant(Command):
    """Take no new users into the tenant until it is reactivated."""

    reason: str


class ReactivateTenant(Command):
    """End the suspension."""


TenantCommand = CreateTenant | RenameTenant | SuspendTenant | ReactivateTenant


# Refusals


class TenantExists(Refusal):
    """A tenant with this id exists already; rename it, or create one with another id."""


class NoSuchTenant(Refusal):
    """There is no tenant with that id; create it first."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        super().__init__(f"there is no tenant {tenant_id}; create it first")


class TenantIsSuspended(Refusal):
    """The tenant is suspended and takes no new users; reactivate it first."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        super().__init__(f"tenant {tenant_id} is suspended and takes no new users; reactivate it first")


# State


class TenantStatus(StrEnum):
    """Whether a tenant takes new users."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Tenant(Struct, frozen=True, kw_only=True, gc=False):
    """A tenant as it is after its events so far."""

    name: str
    suspended_at: datetime | None = None
    suspension_reason: str | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> TenantStatus:
        """SUSPENDED from a suspension until the reactivation."""
        return TenantStatus.ACTIVE if self.suspended_at is None else TenantStatus.SUSPENDED


# Decide


def decide(command: TenantCommand, state: Tenant | None, _others: Others) -> Iterator[TenantEvent]:
    """The events that the command means. Raises a Refusal when a rule forbids it."""
    match command:
        case CreateTenant():
            if state is not None:
                raise TenantExists
            yield TenantCreated(name=names.checked("name", command.name, longest=LONGEST_NAME))
        case RenameTenant():
            name = names.checked("name", command.name, longest=LONGEST_NAME)
            if name != existing(state).name:
                yield TenantRenamed(name=name)
        case SuspendTenant():
            reason = names.checked("reason", command.reason, longest=LONGEST_REASON)
            if reason != existing(state).suspension_reason:
                yield TenantSuspended(reason=reason)
        case ReactivateTenant():
            if existing(state).suspended_at is not None:
                yield TenantReactivated()
        case _:
            assert_never(command)


def tenant_among(others: Others, tenant_id: UUID) -> Tenant:
    """The tenant that another aggregate's command names. Raises NoSuchTenant when no tenant has that id."""
    stream = others.get(tenant_id)
    if stream is None or not isinstance(stream.state, Tenant):
        raise NoSuchTenant(tenant_id)
    return stream.state


# Evolve


def evolve(state: Tenant | None, event: TenantEvent, occurred_at: datetime) -> Tenant:
    """The tenant after the event."""
    if isinstance(event, TenantCreated):
        created_at = state.created_at if state else occurred_at
        return Tenant(name=event.name, created_at=created_at, updated_at=occurred_at)
    tenant = begun(state, event)
    match event:
        case TenantRenamed():
            return replace(tenant, name=event.name, updated_at=occurred_at)
        case TenantSuspended():
            since = tenant.suspended_at or occurred_at
            return replace(tenant, suspended_at=since, suspension_reason=event.reason, updated_at=occurred_at)
        case TenantReactivated():
            return replace(tenant, suspended_at=None, suspension_reason=None, updated_at=occurred_at)
        case _:
            assert_never(event)


TENANT = Aggregate[Tenant, TenantCommand, TenantEvent](
    stream_type="Tenant",
    state=Tenant,
    events=get_args(TenantEvent),
    decide=decide,
    evolve=evolve,
    shown=("name", "status", "suspension_reason", "suspended_at", "created_at"),
)
