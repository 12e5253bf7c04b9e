"""One child server process: started apart from the terminal, frozen, killed, and never orphaned."""

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

from tests.support.services import ServiceFailed

LOG_TAIL_CHARACTERS = 4000
POLL_SECONDS = 0.02
# A Unix socket's path has at most 104 bytes on macOS, its own name included.
MAX_FOLDER_CHARACTERS = 60


class Guard:
    """A process that outlives this one just long enough to end the servers it left behind.

    It notices by end of file on its standard input, which no way of dying can avoid. (The kernel's
    parent-death signal would fire as soon as the *thread* that started a server ends.)
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, stop_signal: signal.Signals) -> None:
        """End `pid` and its children once this process is gone."""
        self._say(f"watch {pid} {int(stop_signal)}")

    def forget(self, pid: int) -> None:
        """The server is down already; its pid may be another's soon."""
        self._say(f"forget {pid}")

    def remove_later(self, folder: Path) -> None:
        """Remove `folder`, if it is still there, once this process is gone."""
        self._say(f"remove {folder}")

    def close(self) -> None:
        """Have the guard do its work now, and wait for it."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _say(self, line: str) -> None:
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
    """All living descendants of `process`, none if it is gone itself."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those of `processes` that still live."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_for_end(processes: Sequence[psutil.Process], timeout_seconds: float) -> None:
    """Wait until none of `processes` runs, or the time is over.

    An orphan may stay a zombie where process 1 is no real init; what it held is free all the same.
    """
    deadline = time.monotonic() + timeout_seconds
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs, or may do so again; a zombie will not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ServerProcess:
    """A server and the children it forks, with its output in a file."""

    def __init__(self, name: str, log_path: Path, stop_signal: signal.Signals) -> None:
        self.name = name
        self.log_path = log_path
        self._stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._left_behind: list[psutil.Process] = []

    @property
    def is_running(self) -> bool:
        """Whether the process itself, not counting its children, is alive."""
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
        """Start `command` and wait until `is_ready`; raises ServiceFailed with its log otherwise.

        `options` go to subprocess.Popen.
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
        """Ask the server to end, wait for it and its children, and return its exit code.

        Raises ServiceFailed, after killing it, when it takes longer than `timeout_seconds`.
        """
        self.thaw()
        assert self._popen is not None
        family = self.children()
        self._popen.send_signal(number)
        return self._wait(family, timeout_seconds)

    def wait(self, *, timeout_seconds: float) -> int:
        """Wait for the end of a server that was told already, as `stop` does."""
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
        """SIGKILL the server, as a crash or the kernel would, and by default its children."""
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
        """The server's living descendants."""
        if not self.is_running:
            return []
        return children_of(psutil.Process(self.pid))

    def freeze(self) -> None:
        """SIGSTOP the server, then every child of it: connections stay open and nothing answers."""
        process = psutil.Process(self.pid)
        process.suspend()
        send(children_of(process), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on; harmless for one that runs."""
        if self.is_running:
            send([*self.children(), psutil.Process(self.pid)], signal.SIGCONT)

    def log_text(self) -> str:
        """All that the server has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        """The end of the log, for an error message."""
        return self.log_text()[-LOG_TAIL_CHARACTERS:]


def private_folder(prefix: str) -> Path:
    """A new temporary folder, this user's alone, removed at the tests' end at the latest."""
    folder = Path(tempfile.mkdtemp(prefix=f"gatepost-{prefix}-", dir=_short_folder()))
    GUARD.remove_later(folder)
    return folder


def _short_folder() -> str | None:
    """The usual place for temporary files, unless a Unix socket's path there would be too long."""
    return "/tmp" if len(tempfile.gettempdir()) > MAX_FOLDER_CHARACTERS else None


def bare_environment() -> dict[str, str]:
    """What any program may know of this one's environment: nothing that configures Gatepost."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    prefixes = ("COVERAGE_", "PYTHON")
    return {k: v for k, v in os.environ.items() if k in kept or k.startswith(prefixes)}
