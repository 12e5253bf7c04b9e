"""The servers of these tests: each kind, on each database, started once and shared."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatepost.testing.races import Arena, Member
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import GRACE_SECONDS, PATIENT, Kept, NewDatabase, migrate
from tests.servers.wire import ORIGIN

KINDS = ("gunicorn", "granian")
# gunicorn logs an error when the rest of a badly framed body can't be skipped, after the application's answer.
SERVER_ERRORS = ("Socket error processing request.",)
PREFIX = "/example"
MAX_BODY_BYTES = 20_000
ENVIRONMENT = {
    **PATIENT,
    "RATELIMIT_ENABLED": "false",
    "REFRESH_GRACE_SECONDS": str(GRACE_SECONDS),
    "LOG_FORMAT": "json",
    "CORS_ORIGINS": ORIGIN,
}


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The server under test: every promise of this folder holds for both."""
    return str(request.param)


@contextmanager
def running(kind: str, url: str, **environment: str) -> Iterator[GatepostServer]:
    """Run a server on a migrated database. It ends by SIGINT, after which gunicorn waits for no connection."""
    with GatepostServer({**ENVIRONMENT, "DATABASE_URL": url, **environment}, server=kind) as server:
        yield server
        if server.is_running:
            server.signal(signal.SIGINT)
            assert server.wait() == 0


@pytest.fixture(scope="session")
def new_sqlite(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Return a function that makes a migrated SQLite database, by copying one, and returns its URL."""

    def make_template() -> Path:
        path = tmp_path_factory.mktemp("template") / "gatepost.db"
        migrate(f"sqlite:///{path}")
        return path

    def make() -> str:
        template = kept.get("migrated SQLite file", lambda: nullcontext(make_template()))
        return f"sqlite:///{shutil.copy(template, tmp_path_factory.mktemp('servers'))}"

    return make


@pytest.fixture(scope="session")
def any_server(kind: str, backend: str, kept: Kept, new_database: NewDatabase) -> GatepostServer:
    """Two workers on either database, shared by most tests."""

    @contextmanager
    def start() -> Iterator[GatepostServer]:
        url = new_database()
        migrate(url)
        with running(kind, url) as server:
            yield server

    return kept.get(f"{kind} on {backend}", start)


@pytest.fixture(scope="session")
def shared_sqlite_server(kind: str, kept: Kept, new_sqlite: NewDatabase) -> GatepostServer:
    """Two workers on SQLite: the same server as `any_server` is there."""
    return kept.get(f"{kind} on sqlite", lambda: running(kind, new_sqlite()))


def ensure_running(server: GatepostServer) -> GatepostServer:
    """Return a server, after starting it if a test has stopped it."""
    if not server.is_running:
        server.start()
    return server


@pytest.fixture
def sqlite_server(shared_sqlite_server: GatepostServer) -> GatepostServer:
    """A server on SQLite whose log is not examined, and which a test may stop."""
    return ensure_running(shared_sqlite_server)


@pytest.fixture(scope="session")
def proxied_server(kind: str, kept: Kept, new_sqlite: NewDatabase) -> GatepostServer:
    """One worker behind a proxy and below a prefix, with a low limit for bodies."""
    environment = {
        "SERVICE_PREFIX": PREFIX,
        "TRUSTED_PROXIES": "1",
        "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "WEB_CONCURRENCY": "1",
    }
    return kept.get(f"{kind} behind a proxy", lambda: running(kind, new_sqlite(), **environment))


@contextmanager
def without_errors(server: GatepostServer) -> Iterator[None]:
    """Check that the application logs no error and answers nothing with 500 meanwhile, and that no process fails."""
    before = len(server.log_text())
    yield
    for line in server.log_text()[before:].splitlines():
        entry = json.loads(line)
        is_error = entry["level"] in ("error", "critical") and entry["event"] not in SERVER_ERRORS
        assert not is_error, line
        assert entry.get("status") != 500, line


@dataclass(frozen=True)
class Author:
    """A signed-in account on a server with SQLite, and how many posts it has."""

    server: GatepostServer
    member: Member
    token: str = field(repr=False)

    def count_posts(self) -> int:
        """Return the number of the author's posts in the database."""
        return self.member.arena.number("SELECT count(*) FROM posts WHERE author_id = :id", id=self.member.id)


@pytest.fixture(scope="session")
def shared_author(shared_sqlite_server: GatepostServer) -> Author:
    """An account that many tests use: each login costs a password hash."""
    member = Arena.of(ensure_running(shared_sqlite_server)).join()
    return Author(shared_sqlite_server, member, member.log_in().access)


@pytest.fixture
def author(shared_author: Author) -> Iterator[Author]:
    """An account on the server on SQLite."""
    with without_errors(ensure_running(shared_author.server)):
        yield shared_author


@pytest.fixture
def arena(any_server: GatepostServer) -> Iterator[Arena]:
    """The API of a server on either database."""
    with without_errors(ensure_running(any_server)):
        yield Arena.of(any_server)


@pytest.fixture
def server(sqlite_server: GatepostServer) -> Iterator[GatepostServer]:
    """A server on SQLite, for promises that do not depend on the database."""
    with without_errors(sqlite_server):
        yield sqlite_server


@pytest.fixture
def proxied(proxied_server: GatepostServer) -> Iterator[GatepostServer]:
    """The server behind a proxy."""
    with without_errors(proxied_server):
        yield proxied_server
