"""Runs nginx with the project's nginx.conf and start.sh, on loopback ports."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil

from gatepost.testing.services import LOOPBACK, ServiceMissing, free_port
from gatepost.testing.services.postgres import Account
from gatepost.testing.services.process import ServerProcess, bare_environment, children_of, private_folder
from tools.services import COMPONENTS, Program, locate

ROOT = Path(__file__).resolve().parents[3]
FILES = (ROOT / "nginx.conf", ROOT / "ops" / "nginx" / "start.sh")
START_SECONDS = 120
# Replaces the system's getent. The names in the file `names` beside it have an address; those that are marked there as
# coming and going have one at every second call.
GETENT = f"""#!/bin/sh
cd "$(dirname "$0")"
echo "$2" >>asked
grep -qxF "$2" names ||
    {{ grep -qxF "$2 comes and goes" names && [ $(($(grep -cxF "$2" asked) % 2)) = 0 ]; }} &&
    echo "{LOOPBACK} STREAM $2"
"""
# The programs that start.sh calls; BusyBox provides all of them in the container.
APPLETS = (
    *("awk", "base64", "cat", "date", "dirname", "grep", "head", "mkdir", "mktemp", "mv", "od", "rm", "sed", "sh"),
    *("sha256sum", "sleep", "sort", "tr", "wget"),
)
COMES_AND_GOES = "comes and goes"


class NginxServer:
    """A running nginx; a context manager that removes all its files.

    `servers` are HOST:PORT. With `names`, only these hosts have an address, that of this machine; `set_names` changes
    them. With `busybox`, the script runs with the shell and tools of BusyBox, as in the image, instead of the system's.
    `changes` maps texts that nginx.conf contains once to their replacements, for shorter time limits.
    Raises ServiceMissing if a program is not installed.
    """

    def __init__(
        self,
        *servers: str,
        env: Mapping[str, str] | None = None,
        names: tuple[str, ...] | None = None,
        busybox: bool = False,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        program = _locate("nginx")
        self._account = Account()
        self._folder = private_folder("nginx")
        self.port, self.tls_port, self._status_port = free_port(), free_port(), free_port()
        self.tls_folder = self._folder / "tls"
        self._process = ServerProcess("nginx", self._folder / "log", signal.SIGTERM)
        self._lay_out(changes or {})
        path = [str(program.path.parent), os.environ.get("PATH", os.defpath)]
        if names is not None:
            self.set_names(*names)
            path.insert(0, str(self._bin))
        if busybox:
            self._prefer(_locate("busybox").path)
            path.insert(0, str(self._folder / "busybox"))
        self._env = {
            **bare_environment(),
            **program.environment,
            "PATH": os.pathsep.join(path),
            "APP_SERVERS": " ".join(servers),
            "CORS_ORIGINS": "https://app.example.com,http://localhost:5173, https://third.example",
            "NGINX_DIR": str(self._folder / "run"),
            "NGINX_TLS_DIR": str(self.tls_folder),
            "NGINX_LISTEN": f"{LOOPBACK}:{self.port}",
            "NGINX_TLS_LISTEN": f"{LOOPBACK}:{self.tls_port}",
            "HTTPS_PORT": str(self.tls_port),
            "NGINX_STATUS_LISTEN": f"{LOOPBACK}:{self._status_port}",
            "NGINX_WATCH_SECONDS": "0.2",
            **(env or {}),
        }
        self._shell = str(self._folder / "busybox" / "sh") if busybox else "sh"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start nginx as an unprivileged user, as in the container."""
        self._process.start(
            [self._shell, self._folder / "start.sh"],
            self._answers,
            timeout_seconds=START_SECONDS,
            cwd=self._folder,
            env=self._env,
            **self._account.options,
        )

    def set_names(self, *names: str) -> None:
        """Give an address to these hosts only; to "NAME comes and goes" at every second look-up."""
        new = self._bin / "names.new"
        new.write_text("".join(f"{name}\n" for name in names))
        new.replace(self._bin / "names")

    def rounds(self, name: str) -> int:
        """Return how many times the address of a host has been looked up."""
        asked = self._bin / "asked"
        return asked.read_text().splitlines().count(name) if asked.exists() else 0

    def reloads(self) -> int:
        """Return how many times nginx has been reloaded."""
        return self.log_text().count('"event":"reload"')

    def watchers(self) -> list[list[psutil.Process]]:
        """Return the processes that look for replicas: for each such child of nginx, it and its descendants."""
        workers = self.worker_pids()
        mine = [child for child in psutil.Process(self._process.pid).children() if child.pid not in workers]
        return [[child, *children_of(child)] for child in mine]

    def test(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Return the result of the script's test of these settings and of the certificate."""
        return self.run_script("test", env=settings)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of nginx by name."""
        connection = http.client.HTTPConnection(LOOPBACK, self._status_port, timeout=START_SECONDS)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Type")) == (200, "text/plain; version=0.0.4")
        lines = response.read().decode().splitlines()
        connection.close()
        return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}

    def is_healthy(self) -> bool:
        """Return whether the container's health check succeeds."""
        return self.run_script("health").returncode == 0

    def leave_out(self, *addresses: str) -> subprocess.CompletedProcess[str]:
        """Remove these replicas (HOST:PORT) from nginx, add all others again, and return the script's result."""
        return self.run_script("leave-out", *addresses)

    def run_script(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the script to its end, with these changes of its environment."""
        command = [self._shell, str(self._folder / "start.sh"), *arguments]
        options: dict[str, Any] = {"cwd": self._folder, "env": {**self._env, **(env or {})}, **self._account.options}
        return subprocess.run(command, check=False, capture_output=True, text=True, **options)

    def age_last_round(self, seconds: int) -> None:
        """Make the last round of looking for replicas seem to be longer ago."""
        note = self._folder / "run" / "last-round"
        note.write_text(f"{int(note.read_text()) - seconds}\n")

    def worker_pids(self) -> set[int]:
        """Return the process ids of nginx's workers; a reload replaces them."""
        return {child.pid for child in self._process.children() if _name_of(child) == "nginx"}

    def log_text(self) -> str:
        """Return everything that nginx has logged so far."""
        return self._process.log_text()

    def stop(self) -> None:
        """Stop nginx as the container does, without its other child processes."""
        psutil.Process(self._process.pid).send_signal(signal.SIGQUIT)
        self._process.wait(timeout_seconds=START_SECONDS)

    def close(self) -> None:
        """Stop nginx and remove its files."""
        # SIGKILL for all its processes, because the one that looks for replicas would otherwise end after nginx.
        self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lay_out(self, changes: Mapping[str, str]) -> None:
        """Copy the two files into one folder, as in the container, and let the account write where it needs to."""
        self.tls_folder.mkdir()
        self._bin.mkdir()
        fake = self._bin / "getent"
        fake.write_text(GETENT)
        fake.chmod(0o755)
        self._account.give(self._bin)
        for file in FILES:
            shutil.copy(file, self._folder)
        configuration = (self._folder / "nginx.conf").read_text()
        for old, new in changes.items():
            assert configuration.count(old) == 1, old
            configuration = configuration.replace(old, new)
        (self._folder / "nginx.conf").write_text(configuration)
        self._process.log_path.touch()
        for path in (self._folder, self._process.log_path):
            self._account.give(path)

    @property
    def _bin(self) -> Path:
        return self._folder / "bin"

    def _prefer(self, busybox: Path) -> None:
        folder = self._folder / "busybox"
        folder.mkdir()
        for name in APPLETS:
            (folder / name).symlink_to(busybox)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._status_port, timeout=1)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _name_of(process: psutil.Process) -> str:
    """Return the name of a process, or "" if it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _locate(name: str) -> Program:
    """Return a program. Raises ServiceMissing."""
    program = locate(name)
    if program is None:
        raise ServiceMissing(COMPONENTS[name].advice)
    return program
