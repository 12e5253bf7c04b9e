"""A private Redis server for the tests, without persistence."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path
from typing import Self

from gatepost.testing.services import LOOPBACK, ServiceMissing, free_port
from gatepost.testing.services.process import ServerProcess, bare_environment, private_folder
from tools.services import COMPONENTS, locate

START_SECONDS = 120
STOP_SECONDS = 60


class RedisServer:
    """A running redis-server. A context manager, which removes the server and its files at the end.

    Raises ServiceMissing if the program is not installed.
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
        """The URL of database 0."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    def start(self) -> None:
        """Start the server. A restart keeps the port and loses the data."""
        self._process.start(
            self._command,
            self._answers,
            timeout_seconds=START_SECONDS,
            cwd=self._folder,
            env=self._env,
        )

    def stop(self) -> None:
        """Shut down. The data is lost."""
        self._process.stop(signal.SIGTERM, timeout_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL the server, to simulate a crash."""
        self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP the server; connections stay open."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT a frozen server."""
        self._process.thaw()

    def log_text(self) -> str:
        """Return the log of the server."""
        return self._process.log_text()

    def close(self) -> None:
        """Stop the server and remove its files."""
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
