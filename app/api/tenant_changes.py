"""Mutations of tenants."""

from __future__ import annotations

import strawberry
from uuid_utils.compat import uuid7

from app.api.changes import ChangeInput, Given, Input, Intent, ThingPayload, change
from app.api.checks import Checks
from app.api.context import Context, Info
from app.api.fields import attribute, mutation
from app.api.tenants import Tenant
from app.domain.tenant import TENANT, CreateTenant, ReactivateTenant, RenameTenant, SuspendTenant
from app.security.permissions import TENANT_WRITE, needs


@strawberry.type
class TenantPayload(ThingPayload):
    tenant: Tenant | None = attribute("", "The tenant as this left it; null when there is a problem.", name="thing")


@strawberry.input(description="What `createTenant` needs.")
class CreateTenantInput(Input):
    name: str = strawberry.field(description="What the tenant is called: 1 to 200 characters on one line.")

    async def intent(self, context: Context, checks: Checks) -> Intent:
        id = uuid7()
        return Intent(stream_id=id, tenant_id=id, command=CreateTenant(name=self.name, at=context.at))


@strawberry.type(description="What `createTenant` came to.")
class CreateTenantPayload(TenantPayload):
    pass


@strawberry.input(description="What `renameTenant` needs.")
class RenameTenantInput(ChangeInput):
    name: str = strawberry.field(description="What the tenant is called from now on: 1 to 200 characters on one line.")

    async def command(self, context: Context, checks: Checks) -> RenameTenant:
        return RenameTenant(name=self.name, at=context.at)


@strawberry.type(description="What `renameTenant` came to.")
class RenameTenantPayload(TenantPayload):
    pass


@strawberry.input(description="What `suspendTenant` needs.")
class SuspendTenantInput(ChangeInput):
    reason: str = strawberry.field(description="Why, for those who wonder later: 1 to 1,000 characters on one line.")

    async def command(self, context: Context, checks: Checks) -> SuspendTenant:
        return SuspendTenant(reason=self.reason, at=context.at)


@strawberry.type(description="What `suspendTenant` came to.")
class SuspendTenantPayload(TenantPayload):
    pass


@strawberry.input(description="What `reactivateTenant` needs.")
class ReactivateTenantInput(ChangeInput):
    async def command(self, context: Context, checks: Checks) -> ReactivateTenant:
        return ReactivateTenant(at=context.at)


@strawberry.type(description="What `reactivateTenant` came to.")
class ReactivateTenantPayload(TenantPayload):
    pass


@strawberry.type
class TenantMutations:
    @mutation("Create a tenant: an organisation with users and roles of its own.", needs(TENANT_WRITE, everywhere=True))
    async def create_tenant(self, info: Info, input: Given[CreateTenantInput]) -> CreateTenantPayload:
        return await change(info, TENANT, input, CreateTenantPayload)

    @mutation("Give a tenant another name.", needs(TENANT_WRITE))
    async def rename_tenant(self, info: Info, input: Given[RenameTenantInput]) -> RenameTenantPayload:
        return await change(info, TENANT, input, RenameTenantPayload)

    @mutation("Take no new users into a tenant until it is reactivated. Those that it has are not touched.", needs(TENANT_WRITE))
    async def suspend_tenant(self, info: Info, input: Given[SuspendTenantInput]) -> SuspendTenantPayload:
        return await change(info, TENANT, input, SuspendTenantPayload)

    @mutation("End a tenant's suspension.", needs(TENANT_WRITE))
    async def reactivate_tenant(self, info: Info, input: Given[ReactivateTenantInput]) -> ReactivateTenantPayload:
        return await change(info, TENANT, input, ReactivateTenantPayload)
