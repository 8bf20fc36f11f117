"""Who asks."""

from __future__ import annotations

import strawberry

from app.api.context import Info
from app.api.fields import field, reads
from app.api.tenants import Tenant
from app.domain.tenant import TENANT


@strawberry.type(description="Whoever sends the request.")
class Viewer:
    name: str = strawberry.field(description="The name under which the log keeps what they do.")
    permissions: list[str] = strawberry.field(description="What they may do; `*` is everything.")

    @field("The tenant whose data they see; null for all tenants.", reads("tenants"))
    async def tenant(self, info: Info) -> Tenant | None:
        tenant_id = info.context.caller.tenant_id
        return None if tenant_id is None else Tenant.seen(await info.context.loaders.stream(TENANT.stream_type, tenant_id, None))


@strawberry.type
class ViewerQueries:
    @field("Whoever sends this request, and what they may do.")
    def viewer(self, info: Info) -> Viewer | None:
        caller = info.context.caller
        return Viewer(name=caller.name, permissions=sorted(caller.permissions))
