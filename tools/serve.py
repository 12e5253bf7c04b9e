"""Serves a development checkout: checks settings and port, migrates the database, starts the server that SERVER names.

bootstrap.py runs it in the virtual environment; gunicorn gets the options.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    # Until the server installs its handler, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(ROOT))

from app.settings import ConfigurationError, Settings, load_settings  # noqa: E402

REGISTRATION = '{"email": "alice@example.com", "name": "Alice", "password": "seven tall lamps"}'
# Like `python -m`, but Ctrl-C prints no traceback until the module installs its own handler.
RUN_MODULE = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def main(options: list[str]) -> NoReturn:
    """Replace this process by the server, or exit with a message that explains why it cannot start."""
    os.chdir(ROOT)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(str(error))
    host, port = split_address(settings.bind)
    if port and (problem := find_port_problem(host, port)):
        sys.exit(problem)
    migrate = module_command("flask", "--app", "run", "db", "upgrade")
    if code := subprocess.call(migrate, stdin=subprocess.DEVNULL):
        sys.exit(code)
    print(next_steps(settings, host, port), flush=True)
    command = module_command("run", *options)
    # Replaces this process, so that Ctrl-C and other signals reach the server.
    os.execv(sys.executable, command)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the virtual environment as a program."""
    return [sys.executable, "-c", RUN_MODULE, module, *arguments]


def split_address(bind: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, [IPV6]:PORT or :PORT (all interfaces); port 0 for a Unix socket."""
    if bind.startswith("unix:"):
        return bind, 0
    host, _, port = bind.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)


def find_port_problem(host: str, port: int) -> str | None:
    """Return why a server cannot listen on an address, as a sentence, or None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # gunicorn sets it too: without it, connections in TIME_WAIT of a stopped server block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror
        else:
            return None
    return (
        f"Cannot listen on port {port} of {host} ({reason}): stop the program that uses it, "
        f"or choose another port with BIND={host}:{port + 1} make run."
    )


def next_steps(settings: Settings, host: str, port: int) -> str:
    """Return the message that is printed after the start: the address, a first request, and where to read on."""
    if not port:
        return f"Gatepost listens on {settings.bind}. Ctrl-C stops it. See README.md for a tour."
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{shown}:{port}{settings.service_prefix}"
    return (
        f"Gatepost is running at {url} (Ctrl-C stops it).\n"
        f"Sign up:  curl {url}/api/v1/auth/register -H 'Content-Type: application/json' "
        f"-d '{REGISTRATION}'\n"
        f"Next:     read the tour in README.md, or try all routes at {url}/docs."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
