"""A role: a named list of permissions that a tenant gives to its users."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, assert_never, get_args
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from app.domain import names
from app.domain.aggregate import Aggregate, Claim, Command, Event, Others, begun, existing
from app.domain.tenant import tenant_among
from app.errors import Refusal

LONGEST_NAME = 200
LONGEST_PERMISSION = 200


# Events


class RoleDefined(Event):
    """A role was defined, or defined anew: name and permissions replace the former ones, and a retired role is back."""

    name: Annotated[str, Meta(description="What the role is called; unique among the tenant's roles that are not retired.")]
    permissions: Annotated[tuple[str, ...], Meta(description="All that the role permits.")]


class RoleRetired(Event):
    """The role was retired: who has it keeps it, but it cannot be assigned any more, and its name is free."""

    name: Annotated[str, Meta(description="What the role was called.")]


RoleEvent = RoleDefined | RoleRetired


# Commands


class DefineRole(Command):
    """Define a role, or define it anew: its name and all its permissions."""

    tenant_id: UUID
    name: str
    permissions: tuple[str, ...]


class RetireRole(Command):
    """Let nobody be assigned the role any more."""


RoleCommand = DefineRole | RetireRole


# Refusals


class NoSuchRole(Refusal):
    """The tenant has no role with that id; define it first, or leave it out."""

    def __init__(self, role_id: UUID) -> None:
        self.role_id = role_id
        super().__init__(f"the tenant has no role {role_id}; define it first, or leave it out")


class RoleIsRetired(Refusal):
    """The role is retired and cannot be assigned; define it anew, or leave it out."""

    def __init__(self, role_id: UUID, name: str) -> None:
        self.role_id = role_id
        self.name = name
        super().__init__(f"role {name!r} ({role_id}) is retired and cannot be assigned; define it anew, or leave it out")


# State


class Role(Struct, frozen=True, kw_only=True, gc=False):
    """A role as it is after its events so far."""

    name: str
    permissions: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None = None

    @property
    def retired(self) -> bool:
        """Whether the role cannot be assigned any more."""
        return self.retired_at is not None

    @property
    def name_key(self) -> str:
        """The form in which two spellings of the name are equal."""
        return names.normalise(self.name)


# Decide


def decide(command: RoleCommand, state: Role | None, others: Others) -> Iterator[RoleEvent]:
    """The events that the command means. Raises a Refusal when a rule forbids it."""
    match command:
        case DefineRole():
            tenant_among(others, command.tenant_id)
            defined = _defined(command)
            if state is None or state.retired or _differ(state, defined):
                yield defined
        case RetireRole():
            role = existing(state)
            if not role.retired:
                yield RoleRetired(name=role.name)
        case _:
            assert_never(command)


def _defined(command: DefineRole) -> RoleDefined:
    permissions = (names.checked("permission", each, longest=LONGEST_PERMISSION) for each in command.permissions)
    return RoleDefined(
        name=names.checked("name", command.name, longest=LONGEST_NAME),
        permissions=names.without_repeats(permissions),
    )


def _differ(role: Role, defined: RoleDefined) -> bool:
    """Whether the definition changes the role; another order of the same permissions does not."""
    return role.name != defined.name or set(role.permissions) != set(defined.permissions)


def check_assignable(others: Others, tenant_id: UUID, role_id: UUID) -> None:
    """Raises NoSuchRole or RoleIsRetired. A role of another tenant is no such role, so that its existence does not leak."""
    stream = others.get(role_id)
    if stream is None or stream.tenant_id != tenant_id or not isinstance(stream.state, Role):
        raise NoSuchRole(role_id)
    if stream.state.retired:
        raise RoleIsRetired(role_id, stream.state.name)


# Evolve


def evolve(state: Role | None, event: RoleEvent, occurred_at: datetime) -> Role:
    """The role after the event."""
    match event:
        case RoleDefined():
            return Role(
                name=event.name,
                permissions=event.permissions,
                created_at=state.created_at if state else occurred_at,
                updated_at=occurred_at,
            )
        case RoleRetired():
            return replace(begun(state, event), retired_at=occurred_at, updated_at=occurred_at)
        case _:
            assert_never(event)


def claims(state: Role | None) -> frozenset[Claim]:
    """The role's name, until it is retired."""
    if state is None or state.retired:
        return frozenset()
    return frozenset({Claim("roleName", state.name_key)})


def relies_on(command: RoleCommand) -> tuple[UUID, ...]:
    """The streams whose state decides about the command."""
    match command:
        case DefineRole():
            return (command.tenant_id,)
        case RetireRole():
            return ()
        case _:
            assert_never(command)


ROLE = Aggregate[Role, RoleCommand, RoleEvent](
    stream_type="Role",
    state=Role,
    events=get_args(RoleEvent),
    decide=decide,
    evolve=evolve,
    shown=("name", "permissions", "created_at", "retired_at"),
    claims=claims,
    relies_on=relies_on,
)
