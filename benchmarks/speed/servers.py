"""The servers that are compared: Gatepost and the bare WSGI function, each under gunicorn and under granian."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.gatepost import ROOT, GatepostServer
from gatepost.testing.services.postgres import find_binaries
from gatepost.testing.services.process import ServerProcess, bare_environment, private_folder

WORKERS, THREADS = "2", "16"
SERVERS = ("gunicorn", "granian")
SECRET = secrets.token_urlsafe(48)
PASSWORD = "correct horse battery staple"
# Packages that a request passes through, with the names that readers know.
PACKAGES = {
    "gunicorn": "gunicorn",
    "granian": "granian",
    "Flask": "flask",
    "SQLAlchemy": "sqlalchemy",
    "psycopg2": "psycopg2-binary",
}
_SQL_COUNT = re.compile(r'"method":"(\w+)","route":"([^"]+)".*"sql_count":(\d+)')


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs."""

    name: str
    url: str
    pid: int


def environment(database_url: str) -> dict[str, str]:
    """Return the settings of production: limits counted, every request logged as JSON, everything measured."""
    return {
        "DATABASE_URL": database_url,
        "JWT_SECRET_KEY": SECRET,
        "LOG_FORMAT": "json",
        "WEB_CONCURRENCY": WORKERS,
        "WEB_THREADS": THREADS,
        # Counted like any other, but all requests come from one address here.
        "RATELIMIT_DEFAULT": "1000000000 per minute",
        "RATELIMIT_LOGIN_ACCOUNT": "1000000000 per minute",
        "RATELIMIT_LOGIN_ADDRESS": "1000000000 per minute",
        # Three runs of 65 sessions: responses that one run did not wait for make its sessions newer than those that the
        # next run opens, and a login ends the one that was idle longest.
        "MAX_SESSIONS_PER_USER": "195",
        # A session's token is sent over and over.
        "ACCESS_TOKEN_MINUTES": "600",
    }


def command(database_url: str, *arguments: str, module: str = "flask --app run") -> str:
    """Run one command as an operator does, and return what it printed."""
    env = {**bare_environment(), **environment(database_url), "APP_ENV": "testing"}
    done = subprocess.run(
        [sys.executable, "-m", *module.split(), *arguments],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
        input=f"{PASSWORD}\n{PASSWORD}\n",
    )
    return done.stdout


@contextmanager
def gatepost(database_url: str, server: str = "gunicorn", **settings: str) -> Iterator[GatepostServer]:
    """Serve Gatepost on this database."""
    with GatepostServer({**environment(database_url), **settings}, server=server) as running:
        yield running


@contextmanager
def limit(database_url: str, server: str) -> Iterator[Target]:
    """Serve the bare WSGI function on this database, with as many workers and threads as Gatepost."""
    folder, port = private_folder("limit"), free_port()
    process = ServerProcess("The limit", folder / "log", signal.SIGTERM)
    url = f"http://{LOOPBACK}:{port}"
    process.start(
        [sys.executable, "-m", server, *limit_options(server, port), "benchmarks.speed.limit:application"],
        lambda: answers(port),
        timeout_seconds=30,
        # In another folder, because gunicorn would read Gatepost's own gunicorn.conf.py.
        cwd=folder,
        env={
            **bare_environment(),
            "PYTHONPATH": str(ROOT),
            "LIMIT_DATABASE_URL": database_url,
            "LIMIT_SECRET_KEY": SECRET,
        },
    )
    try:
        yield Target(f"limit on {server}", url, process.pid)
    finally:
        process.kill()


def limit_options(server: str, port: int) -> list[str]:
    """Return the command-line options for the bare function: the server's defaults but for address and size."""
    if server == "granian":
        options = ["--interface", "wsgi", "--http", "1", "--no-ws", "--no-log", "--host", LOOPBACK, "--port", str(port)]
        return [*options, "--workers", WORKERS, "--blocking-threads", THREADS]
    options = ["--bind", f"{LOOPBACK}:{port}", "--workers", WORKERS, "--threads", THREADS]
    return [*options, "--worker-class", "gthread", "--preload", "--no-control-socket"]


def answers(port: int) -> bool:
    """Whether something on this port answers /health."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def call(port: int, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any, dict[str, str]]:
    """Send one request; returns status, JSON and headers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else None, {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def log_in(port: int, email: str) -> dict[str, Any]:
    """Sign in; returns the session with its tokens."""
    session: dict[str, Any] = call(port, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})[1]
    return session


def refresh_tokens(port: int, email: str, count: int) -> tuple[str, ...]:
    """Return the refresh tokens of so many new sessions."""
    with ThreadPoolExecutor(4) as pool:
        return tuple(pool.map(lambda _: str(log_in(port, email)["refresh_token"]), range(count)))


def statements_of(log: str) -> dict[str, int]:
    """Return how many SQL statements a request of each method and route took, from the request log.

    The lowest number, because once a second a request also reads the maintenance state.
    """
    counts: dict[str, int] = {}
    for method, route, count in _SQL_COUNT.findall(log):
        name = f"{method} {route}"
        counts[name] = min(int(count), counts.get(name, int(count)))
    return counts


def machine() -> str:
    """Return what a reader must know of where figures come from."""
    python = ".".join(map(str, sys.version_info[:3]))
    model = next(
        (
            line.partition(": ")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown processor",
    )
    postgres = subprocess.run([find_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True)
    versions = [
        f"Python {python}",
        *(f"{name} {version(package)}" for name, package in PACKAGES.items()),
        f"PostgreSQL {postgres.stdout.split()[2]}",
        f"SQLite {sqlite3.sqlite_version}",
    ]
    return f"{os.cpu_count()} cores ({model}), {', '.join(versions)}"
