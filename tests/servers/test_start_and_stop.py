"""Starting and stopping: one clear message, and every request that was begun is answered."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatepost.testing.races import Arena
from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.process import ServerProcess, bare_environment, private_folder
from tests.conftest import API, ROOT, NewDatabase
from tests.servers.conftest import Author
from tests.servers.wire import (
    WAIT_SECONDS,
    Connection,
    bearer,
    connections_to_workers,
    get,
    is_up,
    json_request,
    request,
    wait_until,
)

SECRET = "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge"
LOAD_CLIENTS = 8
COMMANDS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "run:app"],
    "granian": [sys.executable, "run.py"],
}


def log_entries(server: GatepostServer) -> list[dict[str, Any]]:
    """Return the lines of the log, each of which must be a JSON object."""
    entries = [json.loads(line) for line in server.log_text().splitlines()]
    assert all(isinstance(entry, dict) for entry in entries)
    return entries


class Load:
    """Clients that create posts one after the other, each on a kept connection, until the server refuses them."""

    def __init__(self, server: GatepostServer, token: str) -> None:
        self.server = server
        self.statuses: Counter[int] = Counter()
        self.answered: set[str] = set()
        self._waiting: set[int] = set()
        self._token = token
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(LOAD_CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many requests have been answered."""
        wait_until(lambda: len(self.answered) >= count, "the load did not begin")

    def count_waiting(self) -> int:
        """Return how many clients wait for an answer."""
        return len(self._waiting)

    def _work(self) -> None:
        while not self._over.is_set():
            # Refused once the server no longer listens; reset if it was waiting to be accepted.
            with contextlib.suppress(ConnectionError), Connection(self.server) as connection:
                while not self._over.is_set() and self._create_post(connection):
                    pass

    def _create_post(self, connection: Connection) -> bool:
        """Create a post; return whether the connection may be used again."""
        request_id = secrets.token_hex(8)
        post = {"title": request_id, "content": "Under load."}
        headers = (bearer(self._token), f"X-Request-ID: {request_id}")
        connection.send(json_request("POST", f"{API}/posts", post, *headers))
        self._waiting.add(threading.get_ident())
        answer = connection.receive()
        self._waiting.discard(threading.get_ident())
        if answer is None:
            return False
        with self._lock:
            self.statuses[answer.status] += 1
            self.answered.add(request_id)
        return answer.headers.get("connection") != "close"


@contextlib.contextmanager
def write_lock(server: GatepostServer) -> Iterator[None]:
    """Hold SQLite's only write lock, so that every request that writes waits."""
    path = server.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=WAIT_SECONDS)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


def test_sigterm_under_load_answers_every_request_that_was_begun(sqlite_server: GatepostServer) -> None:
    """A request without an answer was not begun, so the client may repeat it. The last ones take more than a second."""
    arena = Arena.of(sqlite_server)
    member = arena.join()
    before = len(sqlite_server.log_text())
    with Load(sqlite_server, member.log_in().access) as load:
        load.wait_for_answers(100)
        with write_lock(sqlite_server):
            wait_until(lambda: load.count_waiting() == LOAD_CLIENTS, "a client has sent nothing")
            # What was sent is now read by the workers.
            time.sleep(0.5)
            answered = len(load.answered)
            sqlite_server.signal(signal.SIGTERM)
            wait_until(lambda: has_begun_to_stop(sqlite_server, before), "the server does not stop")
            time.sleep(1)
            assert sqlite_server.is_running
            assert len(load.answered) == answered
        assert sqlite_server.wait() == 0
    assert load.statuses.keys() == {201}
    # Requests were in the server when the signal came.
    assert len(load.answered) > answered
    entries = [json.loads(line) for line in sqlite_server.log_text()[before:].splitlines()]
    begun = {entry["request_id"] for entry in entries if entry.get("route") == f"{API}/posts"}
    assert begun <= load.answered
    # The line is written when the response has left, and granian can end before the last lines.
    assert begun == load.answered or sqlite_server.server == "granian"
    rows = arena.rows("SELECT title FROM posts WHERE author_id = :id", id=member.id)
    assert {row.title for row in rows} == load.answered


def has_begun_to_stop(server: GatepostServer, after: int) -> bool:
    """Whether the log says so, after so many characters."""
    return bool(re.search("Handling signal: term|Shutting down granian", server.log_text()[after:]))


def test_sigterm_ends_an_idle_server_and_it_starts_again_at_its_address(sqlite_server: GatepostServer) -> None:
    before = len(log_entries(sqlite_server))
    with Connection(sqlite_server) as kept, Connection(sqlite_server) as silent:
        assert kept.ask(request("GET /health HTTP/1.1")).status == 200
        end_by(sqlite_server, lambda: sqlite_server.signal(signal.SIGTERM))
        sqlite_server.start()
        assert is_up(sqlite_server)
        assert kept.is_closed_by_server()
        assert silent.is_closed_by_server()
    events = [entry["event"] for entry in log_entries(sqlite_server)[before:]]
    assert len([event for event in events if event.startswith("Shutting down")]) == 1
    assert len([event for event in events if re.match("Starting (gunicorn|granian)", event)]) == 1


def test_ctrl_c_in_a_terminal_ends_the_server_soon(sqlite_server: GatepostServer) -> None:
    """A terminal sends SIGINT to all processes of the server's group at once."""
    # gunicorn's handler may deadlock in a worker that has just accepted a connection, such as the probe's.
    time.sleep(1)
    end_by(sqlite_server, lambda: os.killpg(sqlite_server.pid, signal.SIGINT))


def end_by(server: GatepostServer, send: Callable[[], None]) -> None:
    """Check that a server ends when a signal is sent, with the code 0, and that no worker has to be killed."""
    before = len(log_entries(server))
    send()
    assert server.wait() == 0
    assert not [entry for entry in log_entries(server)[before:] if entry["level"] != "info"]


def test_a_killed_worker_is_replaced_and_its_numbers_are_kept(sqlite_server: GatepostServer) -> None:
    server = sqlite_server
    series = 'gatepost_requests_total{method="GET",route="/problems/<name>",status="200"}'

    def count() -> float:
        text = get(server, "/metrics").body.decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series + " "))

    with connections_to_workers(server) as connections:
        for connection in connections:
            assert connection.ask(request("GET /problems/not-found HTTP/1.1")).status == 200
        served = count()
        old = set(server.worker_pids())
        psutil.Process(min(old)).kill()
        wait_until(lambda: len(set(server.worker_pids()) - {min(old)}) == 2, "the worker was not replaced")
    with connections_to_workers(server) as connections:
        assert len(connections) == 2
        assert all(connection.ask(request(f"GET {API}/posts HTTP/1.1")).status == 200 for connection in connections)
    assert all(is_up(server) for _ in range(20))
    assert count() == served


def environment_for(kind: str, tmp_path: Path, **changes: str) -> dict[str, str]:
    """Return the environment of a server that is started by hand."""
    return {
        **bare_environment(),
        "APP_ENV": "testing",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gatepost.db'}",
        "JWT_SECRET_KEY": SECRET,
        "BIND": f"{LOOPBACK}:{free_port()}",
        "SERVER": kind,
        "WEB_CONCURRENCY": "2",
        **changes,
    }


def run_to_its_end(kind: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a server that can't start."""
    return subprocess.run(
        COMMANDS[kind], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_bad_settings_end_the_start_with_one_message(kind: str, tmp_path: Path) -> None:
    changes = {"JWT_SECRET_KEY": "short", "WEB_THREADS": "many", "DATABASE_URL": "mysql://db"}
    ended = run_to_its_end(kind, environment_for(kind, tmp_path, **changes))
    assert ended.returncode == 1
    assert ended.stdout == ""
    for name in changes:
        assert ended.stderr.count(f"  {name}: ") == 1
    assert ended.stderr.count("JWT_SECRET_KEY") == 1
    assert "Traceback" not in ended.stderr


def test_two_servers_do_not_share_an_address(kind: str, author: Author, tmp_path: Path) -> None:
    """With SO_REUSEPORT, which granian sets, the kernel would give half of the connections to each."""
    environment = environment_for(kind, tmp_path, BIND=f"{LOOPBACK}:{author.server.port}")
    ended = run_to_its_end(kind, environment)
    assert ended.returncode == 1
    assert "in use" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_quiet_server_on_a_unix_socket(kind: str, new_sqlite: NewDatabase) -> None:
    folder = private_folder("unix")
    path = folder / "socket"
    changes = {
        "DATABASE_URL": new_sqlite(),
        "BIND": f"unix:{path}",
        "TRUSTED_PROXIES": "1",
        "LOG_LEVEL": "WARNING",
        "WEB_CONCURRENCY": "1",
    }
    process = ServerProcess(kind, folder / "log", signal.SIGTERM)
    try:
        process.start(
            COMMANDS[kind],
            lambda: status_on_socket(path) == b"HTTP/1.1 200",
            timeout_seconds=WAIT_SECONDS,
            cwd=ROOT,
            env=environment_for(kind, folder, **changes),
        )
        assert process.stop(signal.SIGTERM, timeout_seconds=WAIT_SECONDS) == 0
        # Neither the application nor the server writes a line below the level. granian warns of many threads.
        lines = process.log_text().splitlines()
        assert [line for line in lines if "_granian Configuration allows" not in line] == []
        assert not path.exists()
    finally:
        process.kill()
        shutil.rmtree(folder)


def status_on_socket(path: Path) -> bytes:
    """Return the beginning of the answer to the health probe, b"" as long as nothing listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_SECONDS)
        try:
            client.connect(str(path))
        except OSError:
            return b""
        client.sendall(request("GET /health HTTP/1.1", "Connection: close"))
        return client.recv(12)


@pytest.mark.parametrize(
    ("options", "variable", "preloads"),
    [([], "--reload-engine=poll", True), (["--reload"], "", False), ([], "--workers 1 --reload", False)],
)
def test_workers_that_reload_import_the_application_themselves(
    options: list[str], variable: str, preloads: bool, tmp_path: Path
) -> None:
    command = [*COMMANDS["gunicorn"][:-1], *options, "--print-config", "run:app"]
    env = environment_for("gunicorn", tmp_path, GUNICORN_CMD_ARGS=variable)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert re.search(r"^preload_app *= (.+)$", done.stdout, re.MULTILINE)[1] == str(preloads)  # type: ignore[index]
