"""The fixtures: both databases, built by the migrations, the users of the tests, and a real server.

Each test that uses a database runs on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from argon2 import PasswordHasher
from flask import Flask, has_app_context
from flask.testing import FlaskClient

from app.components import components_of
from app.database import db
from app.maintenance import service as maintenance
from app.security import passwords
from gatepost.testing import cast
from gatepost.testing.applications import BACKENDS, PATIENT, Kept, NewDatabase, empty, migrate, migrated_app
from gatepost.testing.cast import PRODUCTION_HASHER, QUICK, Cast, Clock, ClosingClient, Person
from gatepost.testing.features import feature_environment, replaced_services
from gatepost.testing.races import GRACE_SECONDS, Arena
from gatepost.testing.scenes import Scene, Scenes
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from gatepost.testing.subjects import PARAMETERS, Subject

Flask.test_client_class = ClosingClient


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """Hash passwords in this process with little work. The servers that tests start hash as in production."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", PasswordHasher(*QUICK))
        yield


@pytest.fixture
def full_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hash passwords as in production, for tests of that."""
    monkeypatch.setattr(passwords, "_HASHER", PRODUCTION_HASHER)
    passwords._dummy_hash.cache_clear()
    yield
    passwords._dummy_hash.cache_clear()


@pytest.fixture(autouse=True)
def no_context_left() -> Iterator[None]:
    """Fail the test that leaves an application's context open: every later command would run in that application."""
    yield
    assert not has_app_context()


@pytest.fixture(scope="session")
def kept() -> Iterator[Kept]:
    """What lasts for the whole run."""
    things = Kept()
    with things.stack:
        yield things


@pytest.fixture(scope="session")
def postgres(kept: Kept) -> PostgresServer:
    """The PostgreSQL server of this run."""
    try:
        return kept.get("PostgreSQL", PostgresServer.from_environment)
    except ServiceMissing as error:
        skip_or_fail(error)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database under test: each test that touches one runs on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_database(backend: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Return a function that makes an empty database of this kind and returns its URL."""

    def make() -> str:
        if backend == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'gatepost.db'}"
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.create_database(f"gatepost_{secrets.token_hex(4)}")

    return make


@pytest.fixture(scope="session")
def shared_url(backend: str, kept: Kept, new_database: NewDatabase) -> str:
    """The database of this kind that most tests of this process share: tests use `database_url`."""
    return kept.get(f"database on {backend}", lambda: nullcontext(new_database()))


@pytest.fixture(scope="session")
def shared_app(backend: str, kept: Kept, shared_url: str) -> Flask:
    """One migrated application for each kind of database."""
    return kept.get(f"application on {backend}", lambda: migrated_app(shared_url, services=replaced_services()))


@pytest.fixture
def app(shared_app: Flask, scenes: Scenes) -> Iterator[Flask]:
    """The application on an empty database, without maintenance mode. It empties the database after the test."""
    scenes.close(shared_app)
    maintenance.init_app(shared_app, components_of(shared_app).settings)
    yield shared_app
    with shared_app.app_context():
        db.session.remove()
        empty(db.engine)


@pytest.fixture
def database_url(shared_url: str, app: Flask) -> str:
    """The URL of the shared database, for further applications on it. `app` migrates it, and empties it afterwards."""
    return shared_url


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client without credentials."""
    return app.test_client()


@pytest.fixture
def join(app: Flask) -> Cast:
    """Return a function that adds a user with a session: `join("Dave", role="admin", fresh=False)`."""
    return lambda name, role="user", *, fresh=True: cast.join(app, name, role, fresh=fresh)


@pytest.fixture
def alice(join: Cast) -> Person:
    """A user who owns things."""
    return join("Alice")


@pytest.fixture
def bob(join: Cast) -> Person:
    """A stranger to Alice."""
    return join("Bob")


@pytest.fixture
def carol(join: Cast) -> Person:
    """The administrator."""
    return join("Carol", role="admin")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the application (the JWT library has its own)."""
    stopped = Clock()
    monkeypatch.setattr("app.components.clock", stopped)
    return stopped


@pytest.fixture(scope="session")
def shared_server(backend: str, kept: Kept, new_database: NewDatabase) -> GatepostServer:
    """A real gunicorn with its own migrated database, for what only several processes show."""

    def start() -> GatepostServer:
        url = new_database()
        migrate(url)
        environment = {"DATABASE_URL": url, "RATELIMIT_ENABLED": "false", "REFRESH_GRACE_SECONDS": str(GRACE_SECONDS)}
        return GatepostServer({**feature_environment(), **environment, **PATIENT})

    return kept.get(f"server on {backend}", start)


@pytest.fixture
def arena(shared_server: GatepostServer) -> Iterator[Arena]:
    """The real server on an empty database; the test fails if the server logs an unhandled exception."""
    found = Arena.of(shared_server)
    empty(found.engine)
    with found.watched():
        yield found


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    """The scenes of this run."""
    return Scenes()


@pytest.fixture
def scene(shared_app: Flask, scenes: Scenes, request: pytest.FixtureRequest) -> Scene:
    """The rows that the examples of the feature under test create, on a database with no others."""
    [tested] = [value for name, value in request.node.callspec.params.items() if name in PARAMETERS]
    return scenes.get(shared_app, tested if isinstance(tested, Subject) else tested.subject)
