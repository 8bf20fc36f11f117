"""Who asks."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.api.context import Info
from app.api.fields import field, reads
from app.api.tenants import Tenant
from app.api.users import User
from app.domain.tenant import TENANT
from app.domain.user import USER
from app.security.permissions import TOKEN


@strawberry.type(description="Whoever sends the request.")
class Viewer:
    name: str = strawberry.field(description="The name under which the log keeps what they do; a user's is their id.")
    permissions: list[str] = strawberry.field(description="What they may do; `*` is everything.")

    all_tenants: bool = strawberry.field(description="Whether they see the data of every tenant.")
    expires_at: datetime | None = strawberry.field(description="When their token ends; null where none was needed.")

    @field("The user, as they are now; null for a person or program that is no user.", reads("users"), TOKEN)
    async def user(self, info: Info) -> User | None:
        user_id = info.context.caller.user_id
        return None if user_id is None else User.seen(await info.context.loaders.stream(USER.stream_type, user_id, None))

    @field("The tenant whose data they see; null for all tenants.", reads("tenants"), TOKEN)
    async def tenant(self, info: Info) -> Tenant | None:
        tenant_id = info.context.caller.tenant_id
        return None if tenant_id is None else Tenant.seen(await info.context.loaders.stream(TENANT.stream_type, tenant_id, None))


@strawberry.type
class ViewerQueries:
    @field("Whoever sends this request, and what they may do.", needs=TOKEN)
    def viewer(self, info: Info) -> Viewer | None:
        caller = info.context.caller
        return Viewer(
            name=caller.name,
            permissions=sorted(caller.permissions),
            all_tenants=caller.all_tenants,
            expires_at=caller.expires_at,
        )
