"""The web process: `hindsight serve`."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import resource
import socket
import sys
from contextlib import suppress
from functools import partial

import typer
import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.api.http import LARGEST_BODY
from app.api.site import ENCODED
from app.errors import ConfigurationError, HindsightError
from app.main import create_app
from app.protocols import HttpProtocol, Limits, WebSocketProtocol
from app.settings import PREFIX, Settings, load_settings

log = logging.getLogger(__name__)

BACKLOG = 2048
UNSENT = 128 * 1024
"""Bytes that the system keeps for a client that does not take them; it would keep megabytes, and nobody would notice."""
OWN_FILES = 1_000
"""Files and connections that a process needs for other things than its clients, at most."""
YOUNG = 10_000
"""New objects after which the garbage collector looks through them."""
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
    _allow_files(settings.connections + OWN_FILES)
    # Worker processes are started anew and read their settings from the environment, as this process did.
    os.environ[f"{PREFIX}DATABASE_URL"] = url
    os.environ[f"{PREFIX}DATA_DIR"] = str(settings.data_dir)
    os.environ[f"{PREFIX}RUN_PROJECTIONS"] = str(settings.run_projections)
    config = uvicorn.Config(
        "app.serve:application",
        factory=True,
        workers=workers,
        loop="uvloop",
        http=partial(HttpProtocol, limits=limits_of(settings), headers=ENCODED),  # type: ignore[arg-type]  # it makes one
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


def limits_of(settings: Settings) -> Limits:
    """What clients may take of a process by their connections alone."""
    deadline, slow = settings.deadline_ms / 1000, settings.slow_client_ms / 1000
    return Limits(connections=settings.connections, head=deadline, patience=max(deadline, slow))


def application() -> Starlette:
    """What a worker serves."""
    settings = load_settings()
    assert settings.database_url, "serve() names the database to its workers"
    application = create_app(settings, settings.database_url, run_projections=settings.run_projections)
    # The schema and all modules stay, over a hundred thousand objects: a full collection need not take 50 ms for them. What
    # requests leave behind has hardly any cycles, and need not be looked through after every tenth request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
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
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    if sys.platform == "linux":  # connections have it from here
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    return listening


def _allow_files(wanted: int) -> None:
    """Let this process and its workers have so many files open, of which connections are some; usual are 1,024."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= wanted:
        return
    possible = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, most))
    if possible < wanted:
        log.warning("ulimit -n lets a process have %d files, and %sCONNECTIONS wants %d: raise it", possible, PREFIX, wanted)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
