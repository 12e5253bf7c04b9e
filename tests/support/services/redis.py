"""A private Redis for the tests, with nothing on disk."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path
from typing import Self

from tests.support.services import LOOPBACK, ServiceMissing, free_port
from tests.support.services.process import ServerProcess, bare_environment, private_folder
from tools.services import COMPONENTS, locate

START_SECONDS = 15
STOP_SECONDS = 10


class RedisServer:
    """A running redis-server; a context manager that leaves nothing behind.

    Raises ServiceMissing when the program is not on this machine.
    """

    def __init__(self, *options: str) -> None:
        program = locate("redis")
        if program is None:
            raise ServiceMissing(COMPONENTS["redis"].advice)
        self._folder = private_folder("redis")
        self._port = free_port()
        self._process = ServerProcess("Redis", self._folder / "log", signal.SIGTERM)
        self._env = {**bare_environment(), **program.environment}
        self._command: list[str | Path] = [
            *(program.path, "--bind", LOOPBACK, "--port", str(self._port), "--dir", self._folder),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", *options),
        ]
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    def start(self) -> None:
        """Start the server, again and empty after stop or kill: same port."""
        self._process.start(
            self._command,
            self._answers,
            timeout_seconds=START_SECONDS,
            cwd=self._folder,
            env=self._env,
        )

    def stop(self) -> None:
        """Shut down; what it held is forgotten."""
        self._process.stop(signal.SIGTERM, timeout_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop the server in its tracks; connections stay open."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._process.thaw()

    def log_text(self) -> str:
        """The server's log so far."""
        return self._process.log_text()

    def close(self) -> None:
        """Stop the server for good and remove its files."""
        if self._process.is_running:
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
