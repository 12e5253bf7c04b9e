"""The WSGI application `app` for gunicorn, granian and flask; `python run.py` starts the server that SERVER names."""

import os
import sys

from werkzeug.serving import WSGIRequestHandler

from app import create_app
from app.auth.key_commands import make_bare_app
from app.settings import ConfigurationError, Settings, load_settings

# What an empty host in BIND means.
ANY_ADDRESS = "0.0.0.0"  # noqa: S104


def start_server(options: list[str]) -> None:
    """Check the settings, then serve with gunicorn, which takes `options`, or with granian."""
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

    from app.observability.logs import server_logging

    host, _, port = settings.bind.rpartition(":")
    address = (
        {"uds": settings.bind.removeprefix("unix:")}
        if settings.bind.startswith("unix:")
        else {"address": host.strip("[]") or ANY_ADDRESS, "port": int(port)}
    )
    Granian(
        "run:app",
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=settings.web_concurrency,
        blocking_threads=settings.web_threads,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.graceful_timeout_seconds,
        log_dictconfig=server_logging(settings),
        **address,
    ).serve()


if __name__ == "__main__":
    start_server(sys.argv[1:])

# `flask run` names no versions of software either.
WSGIRequestHandler.version_string = lambda self: "gatepost"  # type: ignore[method-assign]

try:
    app = create_app()
except ConfigurationError as error:
    if {"keys", "generate"} <= set(sys.argv):
        # The key that is about to be generated may be what the settings lack.
        app = make_bare_app()
    else:
        sys.exit(f"{error}\n\n{error.effective}" if {"config", "check"} <= set(sys.argv) else str(error))
