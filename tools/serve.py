"""Serves a development checkout: checks the settings and the port, migrates, becomes gunicorn.

Run by bootstrap.py inside the virtual environment; the options are handed on to gunicorn.
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
    # Until the server handles it, Ctrl-C simply ends the process, with no traceback of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(ROOT))

from app.settings import ConfigurationError, Settings, load_settings  # noqa: E402

REGISTRATION = '{"email": "alice@example.com", "name": "Alice", "password": "seven tall lamps"}'
# Like `python -m`, but as quiet about Ctrl-C as this script; gunicorn sets its own handler in time.
RUN_MODULE = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def main(options: list[str]) -> NoReturn:
    """Become the server, or exit with a sentence that says why it can't start."""
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
    command = module_command("gunicorn", "-c", "gunicorn.conf.py", *options, "run:app")
    # Replaces this process, so that Ctrl-C and signals reach the server itself.
    os.execv(sys.executable, command)


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the virtual environment as a program."""
    return [sys.executable, "-c", RUN_MODULE, module, *arguments]


def split_address(bind: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPV6]:PORT or :PORT, which is every interface; 0 for a file."""
    if bind.startswith("unix:"):
        return bind, 0
    host, _, port = bind.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)


def find_port_problem(host: str, port: int) -> str | None:
    """A sentence that says why nothing can listen there, or None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gunicorn does: a port that a stopped server still lingers on is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            reason = error.strerror
        else:
            return None
    return (
        f"Port {port} of {host} can't be used ({reason}): stop what listens there, "
        f"or choose another with BIND={host}:{port + 1} make run."
    )


def next_steps(settings: Settings, host: str, port: int) -> str:
    """Three lines for a person who has just started Gatepost."""
    if not port:
        return f"Gatepost listens on {settings.bind}. Ctrl-C stops it; README.md has a tour."
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{shown}:{port}{settings.service_prefix}"
    return (
        f"Gatepost is at {url} (Ctrl-C stops it).\n"
        f"Sign up:  curl {url}/api/v1/auth/register -H 'Content-Type: application/json' "
        f"-d '{REGISTRATION}'\n"
        f"Go on:    README.md has a tour of the rest, {url}/docs the whole contract, to read and try."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
