"""How a person starts gunicorn: `python run.py`, and --reload for either way.

Owns only the start; gunicorn.conf.py says what gunicorn then does. Must not import gunicorn,
which fails on variables that the settings would explain.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import NoReturn

from app.settings import ROOT, ConfigurationError, Settings, load_settings

POLL_SECONDS = 0.4
STOP_SECONDS = 10
# What a person edits; the rest below the root is packages, caches and data.
WATCHED = ("app/**/*.py", "examples/**/*.py", "*.py", ".env")


@cache
def startup_settings() -> Settings:
    """Return the settings, or end the process with all that is wrong with them.

    Read once: the application lives as long as the arbiter, and a reload must not give the
    server settings that the application does not have.
    """
    try:
        return load_settings()
    except ConfigurationError as error:
        sys.exit(str(error))


def become_gunicorn(arguments: list[str]) -> NoReturn:
    """Serve as production does; `arguments` go on to gunicorn."""
    environment = dict(os.environ)  # without what the settings lay under it: `.env` may change
    startup_settings()
    # gunicorn reads this one by itself, before any configuration, and breaks over an empty one.
    if not environment.get("WEB_CONCURRENCY"):
        environment.pop("WEB_CONCURRENCY", None)
    os.chdir(ROOT)
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *arguments, "run:app"]
    os.execve(sys.executable, command, environment)  # noqa: S606  # our own interpreter


def restart_on_change() -> NoReturn:
    """Run this command without --reload, anew whenever a file changes, until told to stop.

    gunicorn's own way forks from an arbiter that holds the modules as they were. A first start
    that fails ends with its status; after a later one, the next change is awaited.
    """
    command = [sys.executable, *(part for part in sys.orig_argv[1:] if part != "--reload")]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    status = 0
    with contextlib.suppress(KeyboardInterrupt):
        status = _run_until_change(command, patient=False)
        while status == 0:
            _run_until_change(command, patient=True)
    sys.exit(status)


def _run_until_change(command: list[str], *, patient: bool) -> int:
    """Return 0 when a file has changed; unless `patient`, the status of a server that failed."""
    before = _stamps()
    server = subprocess.Popen(command)  # noqa: S603  # this very command
    try:
        while _stamps() == before:
            if server.poll() and not patient:
                return server.returncode
            time.sleep(POLL_SECONDS)
    finally:
        _stop(server)
    return 0


def _stop(server: subprocess.Popen[bytes]) -> None:
    # The quick way: a developer's browser holds connections that a graceful stop would wait for.
    server.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(STOP_SECONDS)
    server.kill()
    server.wait()


def _stamps() -> dict[Path, float]:
    """The times of the last change of every watched file that is there."""
    stamps = {}
    for pattern in WATCHED:
        for path in ROOT.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                stamps[path] = path.stat().st_mtime
    return stamps
