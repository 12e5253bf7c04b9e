"""Gatepost as in production: under gunicorn with gunicorn.conf.py, or under granian."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from gatepost.testing.services import LOOPBACK, ServiceFailed, free_port
from gatepost.testing.services.process import ServerProcess, bare_environment, private_folder

_SOURCES = Path(__file__).resolve().parents[3]
# The folder of run.py and gunicorn.conf.py; beside an installed Gatepost that is the project's, in which pytest runs.
ROOT = _SOURCES if (_SOURCES / "run.py").is_file() else Path.cwd()
# Guards against a server that hangs: on a busy machine a start takes much longer than the usual two seconds.
START_SECONDS = 120
PROBE_SECONDS = 10
# Longer than the server's own GRACEFUL_TIMEOUT_SECONDS, which `env` may change.
STOP_SECONDS = 120
# For processes whose coverage is not measured: it doubles their time, and tests without a server measure the same code.
NO_COVERAGE = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}


class GatepostServer:
    """A running Gatepost. A context manager. Its environment is `env` and some defaults; it reads no `.env`.

    With `server` "gunicorn", `options` are further options of gunicorn, which take precedence over its file. With
    "granian" the application is always run:app.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        application: str = "run:app",
        *,
        server: str = "gunicorn",
        options: Sequence[str] = (),
    ) -> None:
        self._application = application
        self.server = server
        self._options = options
        self._folder = private_folder("app")
        self._port = free_port()
        self._process = ServerProcess("Gatepost", self._folder / "log", signal.SIGTERM)
        self._env = {
            **bare_environment(),
            **NO_COVERAGE,
            "APP_ENV": "testing",
            "DATABASE_URL": f"sqlite:///{self._folder / 'gatepost.db'}",
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "WEB_CONCURRENCY": "2",
            "WEB_THREADS": "8",
            **env,
            "SERVER": server,
            "BIND": f"{LOOPBACK}:{self._port}",
        }
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a path."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The TCP port of the server."""
        return self._port

    @property
    def database_url(self) -> str:
        """The URL of its database."""
        return self._env["DATABASE_URL"]

    @property
    def pid(self) -> int:
        """The process id of the server's first process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server's first process is running."""
        return self._process.is_running

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [child.pid for child in self._process.children() if not is_resource_tracker(child)]

    def log_text(self) -> str:
        """Return the log of the master and the workers."""
        return self._process.log_text()

    def start(self) -> None:
        """Start the server. A restart keeps the port and the settings."""
        self._process.start(
            self._command(),
            self._is_ready,
            timeout_seconds=START_SECONDS,
            cwd=ROOT,
            env=self._env,
        )

    def _command(self) -> list[str]:
        if self.server == "granian":
            return [sys.executable, "run.py"]
        return [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *self._options, self._application]

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal, such as SIGHUP for a reload."""
        psutil.Process(self.pid).send_signal(number)

    def stop(self) -> int:
        """Stop gracefully by SIGTERM and return the exit code."""
        return self._process.stop(signal.SIGTERM, timeout_seconds=STOP_SECONDS)

    def wait(self) -> int:
        """Wait for the end of a server that was sent a signal, and return the exit code."""
        return self._process.wait(timeout_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL the master and its workers."""
        self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP the master and its workers. Connections stay open, but nothing responds."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT a frozen server."""
        self._process.thaw()

    def close(self) -> None:
        """Stop the server and remove its files."""
        try:
            if self._process.is_running and self.stop() != 0:
                raise ServiceFailed(f"Gatepost stopped with an error:\n{self._process.log_tail()}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        """Return whether a worker responds and all of them are running; in this order because the latter is slow."""
        return self._is_healthy() and len(self.worker_pids()) >= int(self._env["WEB_CONCURRENCY"])

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", "/health")
            answer = json.load(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()
        return bool(answer == {"status": "healthy"})


def is_resource_tracker(process: psutil.Process) -> bool:
    """Return whether a process is the resource tracker of multiprocessing, which serves no requests."""
    try:
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
