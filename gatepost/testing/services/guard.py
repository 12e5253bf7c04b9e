"""Stops servers that are still running after the tests have ended. process.py runs this file as a script.

Reads lines "watch PID SIGNAL", "forget PID" and "remove FOLDER" from standard input. At the end of input, which also
occurs when the writer crashes, stops every process that is still watched and removes the folders.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from pathlib import Path

import psutil

STOP_SECONDS = 3


def read_commands() -> tuple[list[tuple[psutil.Process, int]], list[str]]:
    """Read commands until the end of input; return the watched processes with their signals, and the folders."""
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
            # psutil.Process stores the start time, so that another process with the same pid is not stopped.
            with contextlib.suppress(psutil.NoSuchProcess):
                watched[pid] = (psutil.Process(pid), number)
    return list(watched.values()), folders


def end(process: psutil.Process, number: int) -> None:
    """Stop one server with its signal, and kill the processes that remain after STOP_SECONDS."""
    family = [*process.children(recursive=True), process]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.resume()
    process.send_signal(number)
    for member in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def main() -> None:
    """Read the commands, then stop and remove. Ignores the signals that end the tests."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    servers, folders = read_commands()
    for process, number in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            end(process, number)
    for folder in folders:
        shutil.rmtree(Path(folder), ignore_errors=True)


if __name__ == "__main__":
    main()
