"""Whether the process is alive, and whether it should be sent requests."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.errors import HindsightError
from app.eventstore.migrate import missing_migrations
from projections.engine import ProjectionEngine

MOST_LAG = 10_000
"""Events that a read table may lack: a second or two of its work."""


class Health:
    """The routes of one process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._migrated = False

    def routes(self) -> list[BaseRoute]:
        return [Route("/health", self.alive), Route("/ready", self.ready)]

    async def alive(self, _request: Request) -> Response:
        """This process answers, whatever the rest does."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """The database answers, has the migrations of this program, and its read tables are nearly current; else 503."""
        reasons: list[str] = []
        projections: dict[str, Any] = {}
        try:
            reasons += await self._lacking()
            if not reasons:
                projections, behind = await _projections(request.app.state.backend.engine)
                reasons += behind
        except HindsightError as error:
            reasons.append(error.message)
        answer = {"status": "not ready" if reasons else "ready", "reasons": reasons, "projections": projections}
        return JSONResponse(answer, status_code=503 if reasons else 200)

    async def _lacking(self) -> list[str]:
        if not self._migrated:
            missing = await missing_migrations(self._url)
            self._migrated = not missing
            return [f"the database lacks the migration {each}; run `hindsight migrate`" for each in missing]
        return []


async def _projections(engine: ProjectionEngine) -> tuple[dict[str, Any], list[str]]:
    statuses = [each for each in await engine.status() if each.live]
    behind = [f"projection {each.name}: {each.error or f'{each.lag} events behind'}" for each in statuses if each.lag > MOST_LAG]
    behind += [f"projection {name}: queries see what another release folded" for name in engine.unseen()]
    failed = [f"projection {each.name} stands still: {each.error}" for each in statuses if each.status == "failed"]
    return {each.name: {"status": each.status, "lag": each.lag, "parked": each.parked} for each in statuses}, failed or behind
