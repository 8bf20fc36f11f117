"""The web application: its routes, and what lives as long as it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from app.api import closed, site
from app.api.broadcasts import Broadcasts
from app.api.callers import Callers
from app.api.context import Backend
from app.api.health import Health
from app.api.http import GraphQLEndpoint
from app.api.loaders import shared_lookups
from app.api.operations import Operations
from app.api.persisted import Persisted, trusted_documents
from app.api.rates import Rates
from app.api.rest import Rest
from app.api.schema import build
from app.api.sse import EventStreams
from app.api.websocket import Limits, WebSockets
from app.errors import ConfigurationError
from app.eventstore.feed import Feed
from app.eventstore.recorded_reads import RecordedReads
from app.rebuilding import begin_elsewhere, renew_elsewhere
from app.security.passwords import Passwords
from app.settings import PREFIX, Settings
from app.wiring import login_of, running, service, tokens_of

NO_ROLE = (
    f"{PREFIX}ROW_SECURITY: needs the role hindsight_tenant, which was not there when the database was migrated, or which its "
    "user may not take on"
)


class Application(Starlette):
    """Starlette; only that requests for /graphql, of which there are most, do not go through its middleware and router."""

    def __init__(
        self, graphql: ASGIApp, websockets: WebSockets, routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette]
    ) -> None:
        routes = [Route("/graphql", graphql), WebSocketRoute("/graphql", websockets), *routes]
        super().__init__(routes=routes, lifespan=lifespan)
        self._graphql = graphql

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        short = scope["type"] == "http" and scope["path"] == "/graphql"
        await (self._graphql if short else super().__call__)(scope, receive, site.secured(send))


def shared(graphql: GraphQLEndpoint, origins: str | None) -> ASGIApp:
    """The endpoint, for pages of these origins too. A browser lets them send a token, but no cookie."""
    if origins is None:
        return graphql
    return CORSMiddleware(
        graphql,
        allow_origins=[each.strip() for each in origins.split(",")],
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["ETag", "Hindsight-Position", "Retry-After", "X-Request-Id"],
    )


def create_app(settings: Settings, url: str, *, run_projections: bool = True) -> Starlette:
    """The application on the migrated database at `url`; with `run_projections` it keeps the read tables current itself."""

    closed.code()  # which reads files, and is asked for by requests
    persisted = Persisted(settings.persisted_documents, trusted_documents(settings.trusted_documents))
    operations, rest = Operations(build(), persisted), Rest(build())
    broadcasts = Broadcasts(operations, settings.subscriptions)
    patience = settings.slow_client_ms / 1000
    graphql = GraphQLEndpoint(operations, EventStreams(broadcasts, patience))
    limits = Limits(connections=settings.subscriptions, operations=settings.operations_per_websocket, patience=patience)
    websockets = WebSockets(broadcasts, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tokens = await tokens_of(settings)
        async with service(settings, url, run_projections=run_projections) as parts:
            if settings.row_security and not await parts.database.can_wall():
                raise ConfigurationError(NO_ROLE)
            lookups, passwords = shared_lookups(parts.store), Passwords()
            app.state.backend = graphql.backend = rest.backend = broadcasts.backend = Backend(
                store=parts.store,
                executor=parts.executor,
                engine=parts.engine,
                feed=Feed(parts.store, parts.engine.tail, parts.engine.grown),
                passwords=passwords,
                login=login_of(parts, passwords, tokens),
                callers=Callers(tokens if settings.authentication == "required" else None, parts.store, lookups),
                tokens=tokens,
                recorded_reads=RecordedReads(parts.database, on=settings.audit_reads),
                lookups=lookups,
                walled=settings.row_security,
                wait=settings.wait_ms / 1000,
                rebuild=partial(begin_elsewhere, parts.database, url),
                deadline=settings.deadline_ms / 1000,
                rates=Rates(settings.rate_limit, parts.redis) if settings.rate_limit else None,
                cost_limit=settings.cost_limit,
                open_schema=settings.introspection,
            )
            # An engine that runs listens too.
            beside = renew_elsewhere(parts.store, parts.engine, url) if run_projections else parts.engine.listen()
            async with running(beside):
                yield

    routes = [*site.routes(), *rest.routes(), *Health(url).routes()]
    return Application(shared(graphql, settings.cors_origins), websockets, routes, lifespan)
