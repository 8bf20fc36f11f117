"""Proof of access: whether a user had a permission or a role at a moment, and the events from which that follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple
from uuid import UUID

import strawberry

from app.api.context import Context, Info
from app.api.event_types import Event, event
from app.api.fields import field, reads
from app.api.moments import MomentInput, for_neighbours, moment
from app.api.node import Id, identifier
from app.api.roles import Role
from app.api.users import User
from app.domain.role import RoleDefined
from app.domain.user import UserStatus
from app.domain.user_events import RolesAssigned, UserDeleted
from app.errors import BadInput
from app.eventstore.moment import Moment, named_by
from app.eventstore.recorded import RecordedEvent
from app.security.permissions import EVENT_READ, EVERYTHING, needs


@strawberry.type(description="One role that a user had at a moment or before it, and the events that say so.")
class RoleEvidence:
    role: Role = strawberry.field(description="The role as it was at the moment.")
    held: bool = strawberry.field(description="Whether the user had it at the moment.")
    permits: bool = strawberry.field(
        description="Whether it is what was asked about: the role itself, or one with the permission."
    )
    given: Event = strawberry.field(description="The event that gave it to the user, the last time.")
    taken: Event | None = strawberry.field(description="The event that took it away again; null while the user has it.")
    definition: Event = strawberry.field(description="The event with the role's permissions that were in force at the moment.")


@strawberry.type(description="Whether a user had a permission or a role at a moment, with all that it follows from.")
class AccessProof:
    granted: bool = strawberry.field(
        description="Whether they had it: they existed, were not deleted, and had a role that is or permits what was asked about."
    )
    reason: str = strawberry.field(
        description="Why, or why not, in a sentence. Of a user who never was: that they did not exist."
    )
    user: User | None = strawberry.field(description="The user as they were at the moment; null if they did not exist yet.")
    deleted: Event | None = strawberry.field(description="The event that deleted them, if they were deleted at the moment.")
    roles: list[RoleEvidence] = strawberry.field(
        description="Every role that they had at the moment or before it, in the order in which they were last given."
    )


At = Annotated[MomentInput, strawberry.argument(description="The moment. A version is one of the user's.")]
Permission = Annotated[
    str | None, strawberry.argument(description=f"The permission asked about. A role with `{EVERYTHING}` permits everything.")
]
OfRole = Annotated[strawberry.ID | None, strawberry.argument(description="The role asked about. Give this or `permission`.")]


@strawberry.type
class ProofQueries:
    @field(
        "Whether a user had a permission or a role at a moment, and the evidence: enough to come to the same answer by hand.",
        reads(statements=4),
        needs(EVENT_READ),
    )
    async def access_proof(
        self, info: Info, user_id: Id, at: At, permission: Permission = None, role_id: OfRole = None
    ) -> AccessProof:
        if (permission is None) == (role_id is None):
            raise BadInput("permission", "or roleId is needed, and not both")
        context, id = info.context, identifier("userId", user_id)
        asked_role = None if role_id is None else identifier("roleId", role_id)
        then = moment("at", at, context.head)
        with named_by("at"):
            stream = await context.store.state_at(id, then, context.reads)
        user = User.seen(stream, then)
        if stream is None or user is None:
            reason = "The user did not exist at that moment."
            return AccessProof(granted=False, reason=reason, user=None, deleted=None, roles=[])
        events = await context.store.stream_events(id, 1, stream.version, context.reads)
        of_roles = for_neighbours(then, stream) or then
        evidence = []
        for role, holding in holdings(events).items():
            found = await _evidence(context, role, holding, of_roles, permission, asked_role)
            evidence += [found] if found else []
        is_deleted = stream.state.status is UserStatus.DELETED
        through = [each for each in evidence if each.held and each.permits]
        return AccessProof(
            granted=bool(through) and not is_deleted,
            reason=_reason(through, is_deleted=is_deleted),
            user=user,
            deleted=event(_last(events, UserDeleted)) if is_deleted else None,
            roles=evidence,
        )


class Holding(NamedTuple):
    """When a user last came to have a role, and when they lost it, if they did."""

    given: RecordedEvent
    taken: RecordedEvent | None


def holdings(events: Iterable[RecordedEvent]) -> dict[UUID, Holding]:
    """Every role that a user's events ever gave them, in the order in which they last did."""
    found: dict[UUID, Holding] = {}
    held: tuple[UUID, ...] = ()
    for recorded in events:
        if isinstance(recorded.event, RolesAssigned):
            for role in held:
                if role not in recorded.event.role_ids:
                    found[role] = Holding(found[role].given, recorded)
            for role in recorded.event.role_ids:
                if role not in held:
                    found.pop(role, None)
                    found[role] = Holding(recorded, None)
            held = recorded.event.role_ids
    return found


async def _evidence(
    context: Context, id: UUID, holding: Holding, at: Moment, permission: str | None, asked_role: UUID | None
) -> RoleEvidence | None:
    """None for a role that did not exist yet at the moment, as imported history may have it."""
    stream = await context.store.state_at(id, at, context.reads)
    role = Role.seen(stream, at)
    if stream is None or role is None:
        return None
    permissions = stream.state.permissions
    permits = id == asked_role if permission is None else permission in permissions or EVERYTHING in permissions
    definition = _last(await context.store.stream_events(id, 1, stream.version, context.reads), RoleDefined)
    return RoleEvidence(
        role=role,
        held=holding.taken is None,
        permits=permits,
        given=event(holding.given),
        taken=event(holding.taken) if holding.taken else None,
        definition=event(definition),
    )


def _last(events: list[RecordedEvent], kind: type) -> RecordedEvent:
    return next(recorded for recorded in reversed(events) if isinstance(recorded.event, kind))


def _reason(through: list[RoleEvidence], *, is_deleted: bool) -> str:
    if is_deleted:
        return "The user was deleted at that moment."
    if not through:
        return "The user had no role at that moment that gives it."
    names = ", ".join(each.role.stream.state.name for each in through)
    return f"The user had it through {'the role' if len(through) == 1 else 'the roles'} {names}."
