"""Measure whether the response time of a refused login reveals the reason: `make bench-login`.

Starts Gatepost on an empty database and sends logins with a wrong password, an unknown email and a disabled account in
turn. Prints the median time of each kind and its ratio to the first, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer

KINDS = ("wrong password", "unknown email", "disabled account")
PASSWORD = "correct horse battery"


def log_in(connection: http.client.HTTPConnection, email: str, password: str) -> tuple[int, float]:
    """Send one login, and return its status and its time in seconds."""
    body = json.dumps({"email": email, "password": password})
    started = time.perf_counter()
    connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - started


def make_account(connection: http.client.HTTPConnection, email: str) -> None:
    """Register one account."""
    body = json.dumps({"email": email, "name": "Alice", "password": PASSWORD})
    connection.request("POST", "/api/v1/auth/register", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 201:
        raise SystemExit(f"could not register: {answer.status}")


def run_command(database_url: str, *arguments: str) -> None:
    """Run one `flask --app run` command on a database. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "flask", "--app", "run", *arguments]
    env = {**os.environ, "DATABASE_URL": database_url, "APP_ENV": "testing", "JWT_SECRET_KEY": secrets.token_urlsafe()}
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)


@contextmanager
def served(database_url: str) -> Iterator[http.client.HTTPConnection]:
    """Run a server with one worker on a migrated database, and give a connection to it that stays open."""
    run_command(database_url, "db", "upgrade")
    with GatepostServer({"DATABASE_URL": database_url, "RATELIMIT_ENABLED": "false", "WEB_CONCURRENCY": "1"}) as server:
        yield http.client.HTTPConnection(LOOPBACK, server.port)


def measure(connection: http.client.HTTPConnection, rounds: int) -> dict[str, list[float]]:
    """Return the times of each kind of refusal in seconds. Each round sends one login of each kind in random order."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    attempts = {
        "wrong password": ("known@example.com", "not the password"),
        "unknown email": ("unknown@example.com", "not the password"),
        "disabled account": ("disabled@example.com", PASSWORD),
    }
    for number in range(rounds + 5):
        for kind in random.sample(KINDS, len(KINDS)):
            status, seconds = log_in(connection, *attempts[kind])
            if status != 401:
                raise SystemExit(f"{kind}: {status}, expected 401")
            if number >= 5:
                times[kind].append(seconds)
    return times


def compare(url: str, rounds: int) -> None:
    """Measure on one database and print a table."""
    with served(url) as connection:
        make_account(connection, "known@example.com")
        make_account(connection, "disabled@example.com")
        run_command(url, "users", "disable", "disabled@example.com")
        times = measure(connection, rounds)
    base = statistics.median(times[KINDS[0]])
    print(f"\n{rounds} interleaved rounds, {url.split(':')[0]}\n\n| refusal | median ms | ratio |\n|---|---|---|")
    for kind, values in times.items():
        median = statistics.median(values)
        print(f"| {kind} | {median * 1000:.2f} | {median / base:.3f} |")


def main() -> None:
    """Measure on both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        compare(f"sqlite:///{Path(folder) / 'timing.db'}", rounds)
    with PostgresServer() as server:
        compare(server.create_database("timing"), rounds)


if __name__ == "__main__":
    main()
