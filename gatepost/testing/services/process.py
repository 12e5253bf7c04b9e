"""Server processes for tests: start, stop, freeze and kill them, and stop them if the tests crash."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from gatepost.testing.services import ServiceFailed

LOG_TAIL_CHARACTERS = 4000
POLL_SECONDS = 0.02
# The path of a Unix socket, including its name, has at most 104 bytes on macOS.
MAX_FOLDER_CHARACTERS = 60


class Guard:
    """A process that stops the remaining servers after this process has ended.

    It detects the end of this process, even after SIGKILL, by the end of file on its standard input. The kernel's
    parent-death signal is not suitable, because it is sent when the *thread* that started a server ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, stop_signal: signal.Signals) -> None:
        """Stop `pid` and its children when this process has ended."""
        self._send(f"watch {pid} {int(stop_signal)}")

    def forget(self, pid: int) -> None:
        """Do not stop `pid`: it has exited, and another process may get its pid."""
        self._send(f"forget {pid}")

    def remove_later(self, folder: Path) -> None:
        """Remove `folder`, if it still exists, when this process has ended."""
        self._send(f"remove {folder}")

    def close(self) -> None:
        """Stop the servers and remove the folders now, and wait for the end of that."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _send(self, line: str) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).with_name("guard.py"))],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", "")},
            )
            atexit.register(self.close)
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


GUARD = Guard()


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """Return all descendants of `process`; none if it has ended itself."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those of `processes` that still exist."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_for_end(processes: Sequence[psutil.Process], timeout_seconds: float) -> None:
    """Wait until none of `processes` is running, for at most `timeout_seconds`.

    A zombie counts as ended: its resources are free. An orphan stays a zombie if process 1 is not an init.
    """
    deadline = time.monotonic() + timeout_seconds
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process is running or stopped, and not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ServerProcess:
    """A server with its child processes. Its output goes to a log file."""

    def __init__(self, name: str, log_path: Path, stop_signal: signal.Signals) -> None:
        self.name = name
        self.log_path = log_path
        self._stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._left_behind: list[psutil.Process] = []

    @property
    def is_running(self) -> bool:
        """Whether the process itself is running, regardless of its children."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        if self._popen is None:
            raise ServiceFailed(f"{self.name} was not started.")
        return self._popen.pid

    def start(
        self,
        command: Sequence[str | Path],
        is_ready: Callable[[], bool],
        *,
        timeout_seconds: float,
        **options: Any,
    ) -> None:
        """Start `command` and wait until `is_ready`. `options` are passed to subprocess.Popen.

        Raises ServiceFailed with the end of the log if the command exits or is not ready in time.
        """
        wait_for_end(self._left_behind, timeout_seconds)
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        GUARD.watch(self.pid, self._stop_signal)
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if not self.is_running or time.monotonic() > deadline:
                self.kill()
                raise ServiceFailed(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, number: signal.Signals, *, timeout_seconds: float) -> int:
        """Send the server a signal, wait for it and its children to end, and return its exit code.

        After `timeout_seconds` kills it and raises ServiceFailed.
        """
        self.thaw()
        assert self._popen is not None
        family = self.children()
        self._popen.send_signal(number)
        return self._wait(family, timeout_seconds)

    def wait(self, *, timeout_seconds: float) -> int:
        """Wait like `stop` for a server that has already received a signal."""
        return self._wait(self.children(), timeout_seconds)

    def _wait(self, family: Sequence[psutil.Process], timeout_seconds: float) -> int:
        assert self._popen is not None
        try:
            code = self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceFailed(f"{self.name} did not stop:\n{self.log_tail()}") from None
        GUARD.forget(self._popen.pid)
        wait_for_end(family, timeout_seconds)
        return code

    def kill(self, *, with_children: bool = True) -> None:
        """SIGKILL the server and, by default, its children."""
        if self._popen is None:
            return
        family = self.children()
        self._popen.kill()
        if with_children:
            send(family, signal.SIGKILL)
        self._popen.wait()
        GUARD.forget(self._popen.pid)
        self._left_behind = family

    def children(self) -> list[psutil.Process]:
        """Return the descendants of the server."""
        if not self.is_running:
            return []
        return children_of(psutil.Process(self.pid))

    def freeze(self) -> None:
        """SIGSTOP the server, then its children. Connections stay open, but nothing responds."""
        process = psutil.Process(self.pid)
        process.suspend()
        send(children_of(process), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT the server and its children. Has no effect on a running server."""
        if self.is_running:
            send([*self.children(), psutil.Process(self.pid)], signal.SIGCONT)

    def log_text(self) -> str:
        """Return the log of the server."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        """Return the end of the log, for an error message."""
        return self.log_text()[-LOG_TAIL_CHARACTERS:]


def private_folder(prefix: str) -> Path:
    """Create a temporary folder that only this user can access. It is removed when the tests have ended."""
    folder = Path(tempfile.mkdtemp(prefix=f"gatepost-{prefix}-", dir=_short_folder()))
    GUARD.remove_later(folder)
    return folder


def _short_folder() -> str | None:
    """Return /tmp if the path of a Unix socket in the usual folder would be too long, or None."""
    return "/tmp" if len(tempfile.gettempdir()) > MAX_FOLDER_CHARACTERS else None


def bare_environment() -> dict[str, str]:
    """Return the environment variables that do not configure Gatepost."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    prefixes = ("COVERAGE_", "PYTHON")
    return {k: v for k, v in os.environ.items() if k in kept or k.startswith(prefixes)}
