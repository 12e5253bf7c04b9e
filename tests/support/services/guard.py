"""Ends servers that outlive the tests; run by process.py as a script, never imported.

Standard input holds lines "watch PID SIGNAL", "forget PID" and "remove FOLDER". At its end, however
the writer died, everything still watched is ended and the folders are removed.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from pathlib import Path

import psutil

PATIENCE_SECONDS = 3


def read_orders() -> tuple[list[tuple[psutil.Process, int]], list[str]]:
    """Follow the lines until the writer is gone; return the servers and folders it left."""
    watched: dict[int, tuple[psutil.Process, int]] = {}
    folders = []
    for line in sys.stdin:
        verb, argument = line.rstrip("\n").split(" ", 1)
        if verb == "remove":
            folders.append(argument)
        elif verb == "forget":
            watched.pop(int(argument), None)
        else:
            pid, number = map(int, argument.split())
            # psutil.Process remembers the start time, so that a reused pid is not mistaken for it.
            with contextlib.suppress(psutil.NoSuchProcess):
                watched[pid] = (psutil.Process(pid), number)
    return list(watched.values()), folders


def end(process: psutil.Process, number: int) -> None:
    """Stop one server in its own way, and kill what is left of it and its children."""
    family = [*process.children(recursive=True), process]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.resume()
    process.send_signal(number)
    for member in psutil.wait_procs(family, timeout=PATIENCE_SECONDS)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def main() -> None:
    """Outlive Ctrl-C and hang-ups, which are meant for the tests."""
    for deaf_to in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(deaf_to, signal.SIG_IGN)
    servers, folders = read_orders()
    for process, number in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            end(process, number)
    for folder in folders:
        shutil.rmtree(Path(folder), ignore_errors=True)


if __name__ == "__main__":
    main()
