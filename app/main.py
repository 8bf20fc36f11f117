"""The web application: its routes, and what lives as long as it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route

from app.api import site
from app.api.context import Backend
from app.api.health import Health
from app.api.http import GraphQLEndpoint
from app.api.loaders import shared_lookups
from app.api.schema import build
from app.rebuilding import begin_elsewhere
from app.security.passwords import Passwords
from app.settings import Settings
from app.wiring import service


def create_app(settings: Settings, url: str, *, run_projections: bool = True) -> Starlette:
    """The application on the migrated database at `url`; with `run_projections` it keeps the read tables current itself."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with service(settings, url, run_projections=run_projections) as parts:
            app.state.backend = Backend(
                store=parts.store,
                executor=parts.executor,
                engine=parts.engine,
                passwords=Passwords(),
                lookups=shared_lookups(parts.store),
                wait=settings.wait_ms / 1000,
                rebuild=partial(begin_elsewhere, parts.database, url),
                deadline=settings.deadline_ms / 1000,
            )
            yield

    graphql = Route("/graphql", GraphQLEndpoint(build()))
    return Starlette(routes=[graphql, *site.routes(), *Health(url).routes()], lifespan=lifespan)
