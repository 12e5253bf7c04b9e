"""Starts the server that SERVER names, and makes the application for it. run.py of each project calls this module."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings

# prometheus_client merges the metrics of the workers through files in this folder. It looks for the variable when it is
# imported, so nothing here may import from `app` before the variable is set. gunicorn.conf.py removes the folder when
# gunicorn ends.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Longer than nginx keeps an idle connection (60 s): granian applies its limit for a request's head to the time before
# its first byte too. gunicorn.conf.py has the same.
KEEPALIVE_MS = 75_000
# Connections of each worker, as many as gunicorn's worker_connections. The default shrinks with the number of workers.
MAX_CONNECTIONS = 1000
# What an empty host in BIND means.
ANY_ADDRESS = "0.0.0.0"  # noqa: S104


def make_metrics_folder() -> None:
    """Create the folder of the metrics, unless the variable names one; remove it when this process ends."""
    if METRICS_FOLDER not in os.environ:
        in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="gatepost-metrics-", dir=in_memory)
        atexit.register(shutil.rmtree, os.environ[METRICS_FOLDER], ignore_errors=True)


def start_server(options: list[str]) -> None:
    """Check the settings, then serve with gunicorn, which takes `options`, or with granian."""
    make_metrics_folder()
    from app.settings import ConfigurationError, load_settings

    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(str(error))
    if settings.server == "granian":
        serve_with_granian(settings)
    else:
        # gunicorn itself reads this variable and fails if it is empty.
        if not os.environ.get("WEB_CONCURRENCY"):
            os.environ.pop("WEB_CONCURRENCY", None)
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *options, "run:app"]
        os.execv(sys.executable, command)  # noqa: S606


def serve_with_granian(settings: Settings) -> None:
    """Serve with granian until it is stopped."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    from app.observability import logs

    logs.capture_unlogged(settings)
    Granian(
        "run:app",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEPALIVE_MS),
        websockets=False,
        workers=settings.web_concurrency,
        blocking_threads=settings.web_threads,
        backpressure=MAX_CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.graceful_timeout_seconds,
        log_level=LogLevels(settings.log_level.lower()),
        log_dictconfig=logs.server_logging(settings),
        **find_address(settings.bind),
    ).serve(target_loader=load_application, wrap_loader=False)


def find_address(bind: str) -> dict[str, Any]:
    """Return granian's arguments for BIND. Ends the process if another one listens there.

    granian sets SO_REUSEPORT: a second server would start, and each would get half of the connections.
    """
    if bind.startswith("unix:"):
        return {"uds": Path(bind.removeprefix("unix:"))}
    host, _, port = bind.rpartition(":")
    host = host.strip("[]") or ANY_ADDRESS
    try:
        # granian takes no names.
        host = str(socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0])
        socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        sys.exit(f"Gatepost cannot listen at {bind}: {error.strerror}.")
    return {"address": host, "port": int(port)}


def load_application() -> Flask:
    """Return the application in a worker process of granian, after two corrections of how the worker treats signals."""
    # The forked process has the main process' handlers, which do nothing here: SIGTERM during the start would be lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # Leaves the terminal's process group. Ctrl-C would reach a worker directly as well as through the main process, and
    # a worker that gets both signals at once does not end before the kill timeout.
    os.setpgrp()
    app: Flask = import_module("run").app
    return app


def make_app(services: Mapping[type, Any] | None = None) -> Flask:
    """Return the application for the settings of the environment. `services` is that of create_app().

    If the settings are invalid, the process ends with their problems.
    """
    from werkzeug.serving import WSGIRequestHandler

    from app import create_app
    from app.auth.commands import make_bare_app
    from app.components import components_of
    from app.observability import logs
    from app.settings import ConfigurationError

    # `flask run` names no versions of software either.
    WSGIRequestHandler.version_string = lambda self: "gatepost"  # type: ignore[method-assign]
    try:
        app = create_app(services=services)
    except ConfigurationError as error:
        if {"keys", "generate"} <= set(sys.argv):
            # The key that is about to be generated may be what the settings lack.
            return make_bare_app()
        sys.exit(str(error))
    logs.capture_unlogged(components_of(app).settings)
    return app
