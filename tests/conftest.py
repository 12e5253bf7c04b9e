"""What every test may lean on: both databases, built by the migrations, and the standing cast.

Alice owns, Bob is a stranger, Carol is the administrator.
"""

from __future__ import annotations

import gc
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import flask_migrate
import pytest
from argon2 import PasswordHasher
from flask import Flask, has_app_context
from flask.testing import FlaskClient
from sqlalchemy import Engine, event
from werkzeug.test import TestResponse

from app import create_app
from app.auth import sessions
from app.auth.sessions import Client, Grant
from app.auth.tokens import make_access_token, make_refresh_token
from app.components import components_of
from app.database import Base, db, transaction
from app.maintenance import service as maintenance
from app.security import passwords
from app.settings import Settings, load_settings
from app.users.service import create_user
from tests.support.services import ServiceMissing, skip_or_fail
from tests.support.services.gatepost import GatepostServer
from tests.support.services.postgres import PostgresServer


class ClosingClient(FlaskClient):
    """A client that reads each response to its end and closes it, as a server does."""

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Send a request."""
        return super().open(*args, buffered=buffered, **kwargs)


Flask.test_client_class = ClosingClient
API = "/api/v1"
PASSWORD = "correct horse battery"
BACKENDS = ("sqlite", "postgresql")
Thing = TypeVar("Thing")


def pytest_configure() -> None:
    """Let the servers and commands that tests start end by Ctrl-C, also when a shell runs the tests in background.

    Such a shell ignores SIGINT for all that it starts, and so would they.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from examining the modules and the thousands of collected tests again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_context_left() -> Iterator[None]:
    """Fail the test that leaves an application's context open: every later command would run in that application."""
    yield
    assert not has_app_context()


class Kept:
    """What is made once in a run and closed at its end, in reverse order.

    A fixture that has parameters, or uses one that has, is made anew each time the parameter changes, module by module.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        self._things: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], AbstractContextManager[Thing]]) -> Thing:
        """Return the thing of this name, made by entering `make()` if there is none yet."""
        if name not in self._things:
            self._things[name] = self.stack.enter_context(make())
        thing: Thing = self._things[name]
        return thing


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
        return kept.get("PostgreSQL", PostgresServer)
    except ServiceMissing as error:
        skip_or_fail(error)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database under test: each test that touches one runs on both."""
    return str(request.param)


NewDatabase = Callable[[], str]


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


def settings_for(database_url: str, **changes: Any) -> Settings:
    """Settings for a test: no limits unless asked for."""
    environ = {
        "APP_ENV": "testing",
        "DATABASE_URL": database_url,
        "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
        "CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
        "RATELIMIT_ENABLED": "false",
        # A busy machine must not make an outage of a slow statement or a slow connection.
        "DB_STATEMENT_TIMEOUT_MS": PATIENT["DB_STATEMENT_TIMEOUT_MS"],
        "DB_CONNECT_TIMEOUT_SECONDS": PATIENT["DB_CONNECT_TIMEOUT_SECONDS"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return replace(load_settings(), **changes)


@pytest.fixture(scope="session")
def shared_app(backend: str, kept: Kept, shared_url: str) -> Flask:
    """One migrated application for each kind of database."""
    return kept.get(f"application on {backend}", lambda: migrated_app(shared_url))


@contextmanager
def migrated_app(database_url: str) -> Iterator[Flask]:
    """Make an application on a database of the newest schema."""
    app = create_app(settings_for(database_url))
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", skip_flushes)
        flask_migrate.upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


def skip_flushes(connection: Any, record: object) -> None:
    """Let commits to a SQLite database not wait for the disk. Only a crash of the machine would lose them."""
    connection.execute("PRAGMA synchronous=OFF").close()


@pytest.fixture
def app(shared_app: Flask) -> Iterator[Flask]:
    """The application on an empty database, without maintenance mode. It empties the database after the test."""
    maintenance.init_app(shared_app)
    yield shared_app
    with shared_app.app_context():
        db.session.remove()
        empty(db.engine)


@pytest.fixture
def database_url(shared_url: str, app: Flask) -> str:
    """The URL of the shared database, for further applications on it. `app` migrates it, and empties it afterwards."""
    return shared_url


def empty(engine: Engine) -> None:
    """Delete every row of every table of the application, and begin the numbers of rows at 1 again."""
    tables = list(reversed(Base.metadata.sorted_tables))
    statements = [f"DELETE FROM {table.name}" for table in tables]
    if engine.dialect.name == "postgresql":
        # TRUNCATE would take more than ten times as long, because it writes a new file for each table and index.
        columns = [table.autoincrement_column for table in tables]
        statements += [f"SELECT setval('{c.table.name}_{c.name}_seq', 1, false)" for c in columns if c is not None]
        statements = ["; ".join(statements)]
    else:
        statements.append("DELETE FROM sqlite_sequence")
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client without credentials."""
    return app.test_client()


@dataclass
class Person:
    """One of the cast, signed in; calls the API as that user."""

    id: int
    name: str
    email: str
    grant: Grant = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    client: FlaskClient = field(repr=False)

    @property
    def session_id(self) -> int:
        """The id of the session."""
        return self.grant.session_id

    @property
    def headers(self) -> dict[str, str]:
        """The credentials of every call."""
        return {"Authorization": f"Bearer {self.access_token}"}

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Call `path` below the API's base path; `json`, `headers` and such as for Flask's test client."""
        headers = {**self.headers, **options.pop("headers", {})}
        return self.client.open(API + path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET `path`."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        """POST to `path`."""
        return self.call("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        """PUT to `path`."""
        return self.call("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        """PATCH `path`."""
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        """DELETE `path`."""
        return self.call("DELETE", path, **options)


PRODUCTION_HASHER = passwords._HASHER
# The least time, memory and lanes that Argon2 allows. A hash with the parameters of production takes 25 ms.
QUICK = (1, 8, 1)


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


@cache
def password_hash(hasher: PasswordHasher = PRODUCTION_HASHER) -> str:
    """The hash of everyone's password, made once: by default one that a server need not renew."""
    return hasher.hash(PASSWORD)


def quick_password_hash() -> str:
    """The hash of everyone's password that this process need not renew."""
    return password_hash(passwords._HASHER)


Cast = Callable[..., Person]


@pytest.fixture
def join(app: Flask) -> Cast:
    """Return a function that adds a user with a session: `join("Dave", role="admin", fresh=False)`."""

    def add(name: str, role: str = "user", *, fresh: bool = True) -> Person:
        email = f"{name.lower()}@example.com"
        with app.app_context():
            with transaction():
                user = create_user(email, name, quick_password_hash(), role)
                grant = sessions.open_session(user.id, Client("127.0.0.1", "pytest"))
            access = make_access_token(grant, fresh=fresh)
            refresh = make_refresh_token(grant, lifetime=timedelta(days=7))
        return Person(user.id, name, email, grant, access, refresh, app.test_client())

    return add


@pytest.fixture
def alice(join: Cast) -> Person:
    """Who owns things."""
    return join("Alice")


@pytest.fixture
def bob(join: Cast) -> Person:
    """A stranger to Alice."""
    return join("Bob")


@pytest.fixture
def carol(join: Cast) -> Person:
    """The administrator."""
    return join("Carol", role="admin")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        """Let time pass, as timedelta counts it."""
        self.now += timedelta(**span)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stand in for time, where the application asks its clock (the JWT library has its own)."""
    stopped = Clock()
    monkeypatch.setattr("app.clock.source", stopped)
    return stopped


# On a machine that is busy with other things a race must be slow rather than refused.
PATIENT = {
    "DB_CONNECT_TIMEOUT_SECONDS": "20",
    "DB_LOCK_TIMEOUT_MS": "20000",
    "DB_STATEMENT_TIMEOUT_MS": "25000",
    "DB_POOL_TIMEOUT_SECONDS": "20",
    "MAX_QUEUE_MS": "20000",
}


# The REFRESH_GRACE_SECONDS of the shared server. Tests do not wait for its end: they date the rotation back.
GRACE_SECONDS = 60


@pytest.fixture(scope="session")
def shared_server(backend: str, kept: Kept, new_database: NewDatabase) -> GatepostServer:
    """A real gunicorn with its own migrated database, for what only several processes show."""

    def start() -> GatepostServer:
        url = new_database()
        migrate(url)
        environment = {"DATABASE_URL": url, "RATELIMIT_ENABLED": "false", "REFRESH_GRACE_SECONDS": str(GRACE_SECONDS)}
        return GatepostServer({**environment, **PATIENT})

    return kept.get(f"server on {backend}", start)


def migrate(database_url: str) -> None:
    """Bring a database to the newest schema."""
    app = create_app(settings_for(database_url))
    with app.app_context():
        flask_migrate.upgrade()
        db.engine.dispose()


def problem(response: TestResponse) -> tuple[int, str]:
    """Return status and code of a refusal, after checking that it is a problem document."""
    assert response.mimetype == "application/problem+json", response.text
    document = response.get_json()
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["X-Request-ID"]
    assert document["type"] == "/problems/" + document["code"].replace("_", "-")
    return response.status_code, document["code"]


ROOT = Path(__file__).resolve().parents[1]
