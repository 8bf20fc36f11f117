"""The web process: `hindsight serve`."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
from contextlib import suppress

import typer
import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.api.http import LARGEST_BODY
from app.errors import ConfigurationError, HindsightError
from app.main import create_app
from app.protocols import HttpProtocol, WebSocketProtocol
from app.settings import PREFIX, Settings, load_settings

BACKLOG = 2048
WORKER_PATIENCE = 60
"""Seconds in which a worker must answer its supervisor; within 5, as uvicorn has it, a busy machine may not even start one."""


def serve(settings: Settings, url: str, *, host: str, port: int, workers: int, token: str | None = None) -> None:
    """Answer HTTP until SIGINT or SIGTERM, then finish the requests under way; port 0 takes a free one.

    A `token` is told, for whoever started this. Raises ConfigurationError when the address cannot be had.
    """
    if settings.authentication == "off" and not _is_loopback(host):
        raise ConfigurationError(
            f"{PREFIX}AUTHENTICATION: is off, and whoever reached {host} could do everything; make it required"
        )
    listening = _listen(host, port)
    # Worker processes are started anew and read their settings from the environment, as this process did.
    os.environ[f"{PREFIX}DATABASE_URL"] = url
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    os.environ[f"{PREFIX}RUN_PROJECTIONS"] = str(settings.run_projections)
    config = uvicorn.Config(
        "app.serve:application",
        factory=True,
        workers=workers,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=LARGEST_BODY,
        ws_per_message_deflate=False,
        lifespan="on",
        access_log=False,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        server_header=False,
        timeout_graceful_shutdown=settings.deadline_ms // 1000 + 1,
        timeout_worker_healthcheck=WORKER_PATIENCE,
    )
    typer.echo(f"Hindsight answers at {_address(listening)} (GraphiQL) and {_address(listening)}graphql; Ctrl-C stops it")
    if token is not None:
        typer.echo(f"Who bears this token may do everything, until tomorrow: {token}")
    if not (_in_workers if workers > 1 else _in_this_process)(config, listening):
        raise HindsightError("the server did not start; the lines above say why")


def application() -> Starlette:
    """What a worker serves."""
    settings = load_settings()
    assert settings.database_url, "serve() names the database to its workers"
    application = create_app(settings, settings.database_url, run_projections=settings.run_projections)
    # The schema and all modules stay, over a hundred thousand objects: a full collection need not take 50 ms for them.
    gc.collect()
    gc.freeze()
    return application


def _in_this_process(config: uvicorn.Config, listening: socket.socket) -> bool:
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt, SystemExit):  # the signal, raised again when all is done; a failed start
        server.run(sockets=[listening])
    return server.started


def _in_workers(config: uvicorn.Config, listening: socket.socket) -> bool:
    supervisor = Multiprocess(config, sockets=[listening])
    supervisor.run()
    return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
