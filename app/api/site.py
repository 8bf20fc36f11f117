"""GraphiQL: the page at /, from our own files, allowed to load nothing from anywhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Send

from app.api.examples import examples, readme

STATIC = Path(__file__).parent / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def secured(send: Send) -> Send:
    """Sends the headers above with every answer."""

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *ENCODED]
        await send(message)

    return send_secured


async def index(_request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def routes() -> list[BaseRoute]:
    """The page, the files that it needs, and the examples that it offers."""
    offered = Response(msgspec.json.encode(examples(readme())), media_type="application/json")
    return [
        Route("/", index),
        Route("/favicon.ico", lambda _request: FileResponse(STATIC / "favicon.svg")),  # asked for without looking at the page
        Route("/examples.json", lambda _request: offered),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
