"""The project's own nginx.conf, started by its own start.sh, on loopback ports."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.services import LOOPBACK, ServiceMissing, free_port
from tests.services.postgres import Account
from tests.services.process import ServerProcess, bare_environment, private_folder
from tools.services import COMPONENTS, locate

ROOT = Path(__file__).resolve().parents[2]
FILES = (ROOT / "nginx.conf", ROOT / "ops" / "nginx" / "start.sh")
START_SECONDS = 15
# Instead of the system's: the names that the file `names` beside it holds have an address.
GETENT = f"""#!/bin/sh
grep -qxF "$2" "$(dirname "$0")/names" && echo "{LOOPBACK} STREAM $2"
"""


class NginxServer:
    """A running nginx; a context manager that leaves nothing behind.

    `servers` are HOST:PORT. With `names`, only these hosts have an address, that of this machine; change them
    by `set_names`. Raises ServiceMissing when the program is not on this machine.
    """

    def __init__(
        self, *servers: str, env: Mapping[str, str] | None = None, names: tuple[str, ...] | None = None
    ) -> None:
        program = locate("nginx")
        if program is None:
            raise ServiceMissing(COMPONENTS["nginx"].advice)
        self._account = Account()
        self._folder = private_folder("nginx")
        self.port, self.tls_port, self._status_port = free_port(), free_port(), free_port()
        self.tls_folder = self._folder / "tls"
        self._process = ServerProcess("nginx", self._folder / "log", signal.SIGTERM)
        self._lay_out()
        path = [str(program.path.parent), os.environ.get("PATH", os.defpath)]
        if names is not None:
            self.set_names(*names)
            path.insert(0, str(self._folder / "bin"))
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
            "NGINX_WATCH_SECONDS": "1",
            **(env or {}),
        }
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start nginx as an ordinary user, as the container does."""
        self._process.start(
            ["sh", self._folder / "start.sh"],
            self._answers,
            timeout_seconds=START_SECONDS,
            cwd=self._folder,
            env=self._env,
            **self._account.options,
        )

    def set_names(self, *names: str) -> None:
        """Let just these hosts have an address."""
        (self._folder / "bin" / "names").write_text("".join(f"{name}\n" for name in names))

    def worker_pids(self) -> set[int]:
        """The process ids of nginx's workers; a reload replaces them."""
        return {child.pid for child in self._process.children() if child.name() == "nginx"}

    def log_text(self) -> str:
        """All that nginx has written so far."""
        return self._process.log_text()

    def close(self) -> None:
        """Stop nginx for good and remove its files."""
        # Not gracefully: its watcher would go on sleeping for a while.
        self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lay_out(self) -> None:
        """Copy the two files side by side, as they are in the container; give the account what it writes to."""
        self.tls_folder.mkdir()
        fake = self._folder / "bin" / "getent"
        fake.parent.mkdir()
        fake.write_text(GETENT)
        fake.chmod(0o755)
        for file in FILES:
            shutil.copy(file, self._folder)
        self._process.log_path.touch()
        for path in (self._folder, self._process.log_path):
            self._account.give(path)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._status_port, timeout=1)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
