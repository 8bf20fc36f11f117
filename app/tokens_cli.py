"""`hindsight token`: a signed bearer token for whoever can read this machine's key."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.commands import operator, settings_of
from app.errors import BadInput, NotFound

if TYPE_CHECKING:
    from app.security.tokens import Claims
    from app.settings import Settings
    from app.wiring import Service

SPAN = re.compile(r"(\d{1,6})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

tokens_app = typer.Typer()


@tokens_app.command()
def token(
    ctx: typer.Context,
    user: Annotated[UUID | None, typer.Option(metavar="ID", help="For this user; you as an operator if absent.")] = None,
    permissions: Annotated[
        list[str] | None,
        typer.Option(
            "--permission", help="That permits this; may be given several times. Else: a user's roles, an operator all."
        ),
    ] = None,
    tenant: Annotated[UUID | None, typer.Option(metavar="ID", help="For this tenant's data; a user's own if absent.")] = None,
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="For the data of all tenants.")] = False,
    ttl: Annotated[str, typer.Option(metavar="SPAN", help="How long it is valid, such as 30m, 8h or 7d.")] = "1h",
) -> None:
    """Write a signed bearer token to standard output."""
    from app.security.tokens import Claims

    if tenant is not None and all_tenants:
        raise BadInput("tenant", "cannot be combined with --all-tenants")
    if user is None and tenant is None and not all_tenants:
        raise BadInput("tenant", "is needed, or --user or --all-tenants: whose data is it for?")
    claims = Claims(
        subject=operator() if user is None else str(user),
        tenant_id=tenant,
        all_tenants=all_tenants,
        permissions=frozenset(permissions or ["*"]) if permissions or user is None else None,
        expires_at=datetime.now(UTC) + span(ttl),
    )
    typer.echo(_for_user(settings_of(ctx), claims) if user else _signed(settings_of(ctx), claims))


async def operators_token(settings: Settings) -> str:
    """A token for whoever starts a server with a database of its own: everything, for a day."""
    from app.security.tokens import Claims
    from app.wiring import tokens_of

    ends = datetime.now(UTC) + timedelta(days=1)
    everything = Claims(subject="operator", all_tenants=True, permissions=frozenset({"*"}), expires_at=ends)
    return (await tokens_of(settings)).sign(everything)


def span(text: str) -> timedelta:
    """The span of time that a person wrote. Raises BadInput."""
    found = SPAN.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise BadInput("ttl", f"{text!r} is no span of time; write it like 30m, 8h or 7d")
    return timedelta(seconds=int(found[1]) * SECONDS[found[2]])


def _signed(settings: Settings, claims: Claims) -> str:
    from app.process import in_loop
    from app.wiring import tokens_of

    async def work() -> str:
        return (await tokens_of(settings)).sign(claims)

    return in_loop(work)


def _for_user(settings: Settings, claims: Claims) -> str:
    """Raises NotFound when there is no such user, and BadInput when they are another tenant's: it would be good for nothing."""
    from app.process import with_service

    async def check(service: Service) -> None:
        user = await service.store.load(UUID(claims.subject))
        if user is None or user.type != "User":
            raise NotFound("user", claims.subject)
        if claims.tenant_id not in (None, user.tenant_id):
            raise BadInput("tenant", f"the user is tenant {user.tenant_id}'s")

    with_service(settings, check)
    return _signed(settings, claims)
