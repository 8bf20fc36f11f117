"""Mutations of roles."""

from __future__ import annotations

import strawberry
from uuid_utils.compat import uuid7

from app.api.changes import ChangeInput, Given, Input, Intent, ThingPayload, change
from app.api.checks import NO_ID, Checks
from app.api.context import Context, Info
from app.api.fields import attribute, mutation
from app.api.roles import Role
from app.domain.role import ROLE, DefineRole, RetireRole
from app.security.permissions import ROLE_WRITE, needs


@strawberry.type
class RolePayload(ThingPayload):
    role: Role | None = attribute("", "The role as this left it; null when there is a problem.", name="thing")


@strawberry.input(description="What `defineRole` needs: `tenantId` to define a new role, or `id` to define one anew.")
class DefineRoleInput(Input):
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="The tenant of a new role.")
    id: strawberry.ID | None = strawberry.field(default=None, description="The role to define anew; it may be retired.")
    expected_version: int | None = strawberry.field(
        default=None, description="The version that you saw of the role to define anew. With another one nothing is done."
    )
    name: str = strawberry.field(description="What the role is called: 1 to 200 characters on one line, unique in its tenant.")
    permissions: list[str] = strawberry.field(description="All that the role permits; it replaces what it permitted.")

    async def intent(self, context: Context, checks: Checks) -> Intent:
        if (self.id is None) == (self.tenant_id is None):
            checks.wrong("tenantId", "give either tenantId, for a new role, or id, to define a role anew")
        new = self.id is None
        stream_id = uuid7() if self.id is None else checks.id("id", self.id)
        tenant_id = await context.tenant_of(stream_id) if self.tenant_id is None else checks.id("tenantId", self.tenant_id)
        return Intent(
            stream_id=stream_id,
            tenant_id=tenant_id if new else None,
            expected_version=self.expected_version,
            command=DefineRole(tenant_id=tenant_id or NO_ID, name=self.name, permissions=tuple(self.permissions), at=context.at),
        )


@strawberry.type(description="What `defineRole` came to.")
class DefineRolePayload(RolePayload):
    pass


@strawberry.input(description="What `retireRole` needs.")
class RetireRoleInput(ChangeInput):
    async def command(self, context: Context, checks: Checks) -> RetireRole:
        return RetireRole(at=context.at)


@strawberry.type(description="What `retireRole` came to.")
class RetireRolePayload(RolePayload):
    pass


@strawberry.type
class RoleMutations:
    @mutation("Define a new role, or define a role anew: its name and everything that it permits.", needs(ROLE_WRITE))
    async def define_role(self, info: Info, input: Given[DefineRoleInput]) -> DefineRolePayload:
        return await change(info, ROLE, input, DefineRolePayload)

    @mutation("Let nobody be given the role any more. Who has it keeps it; its name is free again.", needs(ROLE_WRITE))
    async def retire_role(self, info: Info, input: Given[RetireRoleInput]) -> RetireRolePayload:
        return await change(info, ROLE, input, RetireRolePayload)
