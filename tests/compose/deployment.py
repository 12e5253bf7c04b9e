"""Runs the stack of docker-compose.yml under its own project name, with the `docker` command."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatepost.testing.services import free_port
from tests.conftest import API, PASSWORD
from tests.stack.wire import Answer, call
from tools.production_env import find_password_file, fresh_environment, prepare_password

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 600
PATIENCE_SECONDS = 120
ORIGIN = "https://app.example.com"
VERSION, REVISION = "1.2.3", "0123abc-dirty"
SPECIAL_PASSWORD = """@:/?#%& '"$\\é"""


class CommandFailed(Exception):
    """A command ended with an error; the text is its output."""


def docker(*arguments: str) -> str:
    """Run a docker command and return its output."""
    return run(["docker", *arguments])


def run(command: list[str], env: Mapping[str, str] | None = None) -> str:
    """Run a command in the project's folder and return its output. Raises CommandFailed."""
    answer = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if answer.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: {answer.stdout}{answer.stderr}")
    return answer.stdout


def within(seconds: float, holds: Callable[[], bool]) -> float:
    """Wait until a condition holds, and return how long that took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - start


class Deployment:
    """A stack whose containers, networks and volumes no other project on this machine shares.

    The environment may name a finished image (GATEPOST_IMAGE) and the server (SERVER: gunicorn or granian).
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"gatepost-test-{secrets.token_hex(3)}"
        self.port, self.tls_port = free_port(), free_port()
        self.image = os.environ.get("GATEPOST_IMAGE", self.name)
        self.seconds_to_start = 0.0
        self.server = os.environ.get("SERVER") or "gunicorn"
        self.stop_seconds = 35
        self._env_file = folder / "env"
        # The tests must not use a certificate of the developer's own stack.
        self.tls_folder = folder / "tls"
        self.tls_folder.mkdir()
        self.password_file = find_password_file(str(folder / "password"))
        prepare_password(self.password_file, SPECIAL_PASSWORD)
        settings = {
            "GATEPOST_IMAGE": self.image,
            "GATEPOST_VERSION": VERSION,
            "GATEPOST_REVISION": REVISION,
            "HTTP_PORT": str(self.port),
            "HTTPS_PORT": str(self.tls_port),
            "TLS_DIR": str(self.tls_folder),
            "DATABASE_PASSWORD_DIR": str(self.password_file.parent),
            "CORS_ORIGINS": ORIGIN,
            "SERVER": self.server,
            "APP_STOP_SECONDS": str(self.stop_seconds),
            "RATELIMIT_DEFAULT": "100000 per minute",
            "NGINX_RATE": "10000r/s",
            "NGINX_BURST": "10000",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        self._env_file.write_text("\n".join([fresh_environment(), *lines, ""]))

    def compose(self, *arguments: str) -> str:
        """Run `docker compose` for this stack."""
        return docker("compose", "-p", self.name, "--env-file", str(self._env_file), *arguments)

    def up(self, *options: str) -> float:
        """Bring the stack up, wait until it is healthy, and return how long that took."""
        start = time.monotonic()
        self.compose("up", "--detach", "--wait", "--no-build", *options)
        return time.monotonic() - start

    def upgrade(self, *arguments: str) -> None:
        """Run ops/upgrade.sh, as `make upgrade` does after it has built the image."""
        self.run("sh", "ops/upgrade.sh", *arguments)

    def run(self, *command: str) -> str:
        """Run a command of the guide for this stack and return its output. Raises CommandFailed."""
        names = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_ENV_FILES": str(self._env_file)}
        return run([*command], {**os.environ, **names})

    @contextmanager
    def changed(self, **settings: str) -> Iterator[None]:
        """Change settings in the file of the environment until the end of the block."""
        before = self._env_file.read_text()
        self._env_file.write_text(before + "".join(f"{name}={value}\n" for name, value in settings.items()))
        try:
            yield
        finally:
            self._env_file.write_text(before)

    def build(self) -> None:
        """Build the image, unless GATEPOST_IMAGE names one."""
        if "GATEPOST_IMAGE" not in os.environ:
            self.compose("build", "--quiet")

    def remove(self) -> None:
        """Remove everything that this stack has created, including its data."""
        self.compose("down", "--volumes", "--timeout", "10")
        if "GATEPOST_IMAGE" not in os.environ:
            docker("image", "rm", "--force", self.image)

    def sql(self, statement: str) -> str:
        """Execute an SQL statement and return its rows, one per line."""
        psql = ("psql", "--username=gatepost", "--dbname=gatepost", "--quiet", "--tuples-only", "--no-align")
        return self.compose("exec", "-T", "db", *psql, "--command", statement)

    def empty(self) -> None:
        """Delete all accounts with their data."""
        self.sql("TRUNCATE users RESTART IDENTITY CASCADE")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return the output of `docker inspect` for each container, or for those of one service."""
        names = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *names)) if names else []
        return found

    def crash(self, service: str) -> None:
        """Send SIGKILL to a service's first process; after `docker kill`, Docker would not restart it."""
        pid = self.containers(service)[0]["State"]["Pid"]
        code = f"import os; os.kill({pid}, 9)"
        options = ["--rm", "--network=none", "--pid=host", "--user=0", "--entrypoint=python"]
        docker("run", *options, self.image, "-c", code)

    def call(self, method: str, path: str, *, token: str = "", payload: Any = None) -> Answer:
        """Call the API through nginx."""
        headers = {"Origin": ORIGIN} | ({"Authorization": f"Bearer {token}"} if token else {})
        return call(self.port, method, API + path, headers=headers, payload=payload)

    def register(self) -> dict[str, Any]:
        """Register an account, and return it with its tokens."""
        account = {"email": f"{secrets.token_hex(6)}@example.com", "name": "Alice", "password": PASSWORD}
        answer = self.call("POST", "/auth/register", payload=account)
        assert answer.status == 201, answer.body
        tokens: dict[str, Any] = answer.json()
        return account | tokens

    def works(self) -> bool:
        """Return whether the service can read from its database."""
        try:
            return self.call("GET", "/posts").status == 200
        except OSError:
            return False
