"""The error handlers: every exception becomes a problem document that discloses no internals."""

from __future__ import annotations

import gc
import io
import json
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, redirect
from flask.testing import FlaskClient
from psycopg2 import OperationalError as PostgresError
from psycopg2 import errors as postgres_errors
from sqlalchemy import literal_column, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug import exceptions
from werkzeug.test import create_environ

from app import create_app
from app.api.errors import Problem, ValidationFailed, list_problems
from app.components import components_of
from app.database import db, fetch_all, precompiled, transaction
from tests.conftest import API, Person, migrate, problem, settings_for
from tests.support.loglines import logged

# What the constructors of some problems require.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "method_not_allowed": ("GET",),
    "validation_error": ({"title": ["Must be a string."]},),
    "rate_limited": (1, 0, 40),
}
SECRETS = ("SELECT", "Traceback", "File ", ".py", "RuntimeError", "sqlalchemy", "psycopg2", "hush")


class Thrower:
    """Holds the exception that the route under test raises."""

    error: Any = None


@pytest.fixture(scope="module")
def throwing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FlaskClient, Thrower]]:
    """A client of an application with a route that raises the exception in Thrower, without a database."""
    app = create_app(settings_for(f"sqlite:///{tmp_path_factory.mktemp('throwing') / 'empty.db'}"))
    thrower = Thrower()

    @app.route("/throw", methods=["GET", "POST"])
    def throw() -> Any:
        if isinstance(thrower.error, Exception):
            raise thrower.error
        return thrower.error()

    yield app.test_client(), thrower
    with app.app_context():
        db.engine.dispose()


Throwing = tuple[FlaskClient, Thrower]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("hush"),
        KeyError("hush"),
        AssertionError("hush"),
        ZeroDivisionError(),
        RecursionError("hush"),
        UnicodeEncodeError("utf-8", "hush \ud800", 5, 6, "hush"),
        SQLAlchemyError("SELECT hush"),
        IntegrityError("SELECT hush", {"password": "hush"}, sqlite3.IntegrityError("hush")),
        exceptions.InternalServerError("hush"),
        exceptions.NotImplemented("hush"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_is_a_500_without_details(throwing: Throwing, error: Exception) -> None:
    client, thrower = throwing
    thrower.error = error
    response = client.get("/throw", headers={"X-Request-ID": "find-me"})
    assert problem(response) == (500, "internal_error")
    assert list(response.get_json()) == ["type", "title", "status", "code", "detail", "request_id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert not [secret for secret in SECRETS if secret in response.text]


def test_a_bug_is_logged_once_with_its_trace_and_the_request_id(throwing: Throwing) -> None:
    client, thrower = throwing
    thrower.error = RuntimeError("what broke")
    with logged() as log:
        client.get("/throw", headers={"X-Request-ID": "find-me"})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    errors = [line for line in lines if line["level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["request_id"] == "find-me"
    assert "RuntimeError: what broke" in errors[0]["exception"]
    request = next(line for line in lines if line["event"] == "request")
    assert (request["status"], request["code"], request["request_id"]) == (500, "internal_error", "find-me")


def test_the_next_request_succeeds(throwing: Throwing) -> None:
    client, thrower = throwing
    thrower.error = RuntimeError()
    client.get("/throw")
    thrower.error = lambda: {"fine": True}
    assert client.get("/throw").get_json() == {"fine": True}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.BadRequest("hush"), (400, "malformed_request")),
        (exceptions.BadRequestKeyError("hush"), (400, "malformed_request")),
        (exceptions.SecurityError("hush"), (400, "malformed_request")),
        (exceptions.ClientDisconnected(), (400, "malformed_request")),
        (exceptions.NotFound("hush"), (404, "not_found")),
        (exceptions.NotAcceptable("hush"), (406, "not_acceptable")),
        (exceptions.RequestEntityTooLarge("hush"), (413, "payload_too_large")),
        (exceptions.RequestURITooLarge("hush"), (414, "uri_too_long")),
        (exceptions.UnsupportedMediaType("hush"), (415, "unsupported_media_type")),
        (exceptions.ImATeapot("hush"), (400, "malformed_request")),
        (exceptions.ExpectationFailed("hush"), (400, "malformed_request")),
        (exceptions.BadGateway("hush"), (500, "internal_error")),
    ],
    ids=lambda value: getattr(type(value), "__name__", "") if isinstance(value, Exception) else "",
)
def test_werkzeug_s_exceptions_are_problems(throwing: Throwing, error: Exception, expected: tuple[int, str]) -> None:
    client, thrower = throwing
    thrower.error = error
    response = client.post("/throw")
    assert problem(response) == expected
    assert "hush" not in response.text


def test_a_405_lists_the_allowed_methods(throwing: Throwing) -> None:
    client, thrower = throwing
    thrower.error = exceptions.MethodNotAllowed(["POST", "GET"])
    assert client.get("/throw").headers["Allow"] == "GET, POST"
    thrower.error = exceptions.MethodNotAllowed()
    assert problem(client.get("/throw")) == (405, "method_not_allowed")


def test_a_redirect_is_no_problem(throwing: Throwing) -> None:
    client, thrower = throwing
    thrower.error = lambda: abort(redirect("/health"))
    response = client.get("/throw")
    assert (response.status_code, response.headers["Location"]) == (302, "/health")


@pytest.mark.parametrize("kind", list_problems(), ids=lambda kind: kind.code)
def test_every_code_has_a_page_and_a_document(throwing: Throwing, kind: type[Problem]) -> None:
    client, thrower = throwing
    thrower.error = kind(*ARGUMENTS.get(kind.code, ()))
    response = client.get("/throw")
    assert problem(response) == (kind.status, kind.code)
    challenge = response.headers.get("WWW-Authenticate")
    assert (challenge is not None) == (response.status_code == 401)
    page = client.get(response.get_json()["type"])
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert kind.detail.split("'")[0] in page.text


@pytest.mark.parametrize(
    "name", ["nothing", "not_found", "Not-Found", "not-found/", "..%2f", "{{7*7}}", "-", "internal_error"]
)
def test_an_unknown_problem_has_no_page(throwing: Throwing, name: str) -> None:
    assert problem(throwing[0].get(f"/problems/{name}")) == (404, "not_found")


def test_errors_of_a_list_are_reported_by_index(throwing: Throwing) -> None:
    client, thrower = throwing
    thrower.error = ValidationFailed({"items": {1: {"name": ["Must be a string."]}}, "\ud800": ["Unknown field."]})
    response = client.get("/throw")
    assert problem(response) == (422, "validation_error")
    assert json.loads(response.data)["errors"] == {
        "items": {"1": {"name": ["Must be a string."]}},
        "\ud800": ["Unknown field."],
    }


# Databases


def driver_error(cause: Exception) -> DBAPIError:
    """Return a driver's exception wrapped as by SQLAlchemy."""
    return DBAPIError("SELECT hush", {"x": "hush"}, cause)


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout("QueuePool limit"),
        DBAPIError.instance("SELECT hush", {}, PostgresError("could not connect: hush"), PostgresError),
        DBAPIError.instance("SELECT hush", {}, sqlite3.OperationalError("database is locked"), sqlite3.Error),
        DBAPIError("SELECT hush", {}, PostgresError("gone"), connection_invalidated=True),
        *(
            driver_error(cause("hush"))
            for cause in (
                postgres_errors.QueryCanceled,
                postgres_errors.AdminShutdown,
                postgres_errors.CannotConnectNow,
                postgres_errors.TooManyConnections,
                postgres_errors.DiskFull,
                postgres_errors.DeadlockDetected,
                postgres_errors.LockNotAvailable,
                postgres_errors.ReadOnlySqlTransaction,
            )
        ),
    ],
    ids=lambda error: type(getattr(error, "orig", None) or error).__name__,
)
def test_an_unavailable_database_is_a_503(
    throwing: Throwing, error: SQLAlchemyError, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = getattr(error, "orig", None)
    if cause is not None and type(cause) in STATES:
        # Only the driver can set pgcode, from the response of the server.
        monkeypatch.setattr(error, "orig", with_state(cause))
    client, thrower = throwing
    thrower.error = error
    with logged() as log:
        response = client.get("/throw")
    assert problem(response) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert not [secret for secret in SECRETS if secret in response.text]
    assert "hush" not in log.getvalue()
    warning = json.loads(log.getvalue().splitlines()[0])
    assert (warning["level"], warning["event"]) == ("warning", "database unavailable")


STATES = {
    postgres_errors.QueryCanceled: "57014",
    postgres_errors.AdminShutdown: "57P01",
    postgres_errors.CannotConnectNow: "57P03",
    postgres_errors.TooManyConnections: "53300",
    postgres_errors.DiskFull: "53100",
    postgres_errors.DeadlockDetected: "40P01",
    postgres_errors.LockNotAvailable: "55P03",
    postgres_errors.ReadOnlySqlTransaction: "25006",
}


def with_state(cause: Any) -> Any:
    """Return an exception like `cause` with the SQLSTATE that a server would have sent."""
    kind = type(cause)
    return type(kind.__name__, (kind,), {"pgcode": STATES[kind]})(*cause.args)


def test_a_server_that_refuses_connections(tmp_path: Path) -> None:
    app = create_app(settings_for("postgresql+psycopg2://nobody@127.0.0.1:9/none"))
    client = app.test_client()
    started = time.monotonic()
    response = client.get(API + "/posts")
    assert problem(response) == (503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert time.monotonic() - started < 2
    assert client.get("/health").status_code == 200
    assert client.get("/health/ready").status_code == 503


def test_a_locked_sqlite_file_is_a_503_after_the_lock_timeout(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    migrate(f"sqlite:///{path}")
    app = create_app(settings_for(f"sqlite:///{path}", db_lock_timeout_ms=100))
    client = app.test_client()
    body = {"email": "a@example.com", "name": "Al", "password": "correct horse battery"}
    assert client.get(API + "/posts").status_code == 200
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert problem(client.post(API + "/auth/register", json=body)) == (503, "database_unavailable")
        assert client.get(API + "/posts").status_code == 200
        other.execute("ROLLBACK")
    assert client.post(API + "/auth/register", json=body).status_code == 201
    with app.app_context():
        db.engine.dispose()


def test_a_transaction_that_fails_is_rolled_back(app: Flask, alice: Person) -> None:
    def break_off() -> None:
        with transaction():
            db.session.execute(text("UPDATE users SET name = 'Mallory'"))
            raise RuntimeError

    with app.app_context():
        with pytest.raises(RuntimeError):
            break_off()
        assert not db.session().in_transaction()
    assert alice.get("/auth/me").get_json()["name"] == "Alice"


SLOW = {
    "postgresql": "SELECT pg_sleep(60)",
    # SQLite has no statement that sleeps.
    "sqlite": "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
}


@pytest.mark.parametrize("way", ["session", "precompiled"])
def test_a_statement_that_takes_too_long_is_a_503(app: Flask, backend: str, way: str) -> None:
    settings = replace(components_of(app).settings, db_statement_timeout_ms=200)
    other = create_app(settings)
    count: Any = precompiled(select(literal_column(f"({SLOW[backend]})").label("count")))

    @other.get("/slow")
    def run_slow() -> str:
        if way == "precompiled":
            fetch_all(count)
        with transaction():
            db.session.execute(text("UPDATE service_context SET message = 'lost'"))
            db.session.execute(text(SLOW[backend]))
        return ""

    @other.get("/fast")
    def run_fast() -> str:
        with transaction():
            db.session.execute(text("UPDATE service_context SET message = 'kept'"))
        return str(fetch_all(select(literal_column("1").label("one")))[0].one)

    client = other.test_client()
    for _ in range(2):
        started = time.monotonic()
        assert problem(client.get("/slow")) == (503, "database_unavailable")
        assert time.monotonic() - started < 5
        assert client.get("/fast").text == "1"
    with other.app_context():
        db.engine.dispose()


REFUSED = "x" * 300_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("auth/register", {"email": "a@example.com", "name": REFUSED, "password": "seven tall lamps"}),
        ("auth/login", {"email": "a@example.com", "password": 1, "unknown": REFUSED}),
        ("auth/refresh", {"refresh_token": REFUSED}),
        ("auth/refresh", [REFUSED]),
    ],
)
def test_a_refused_body_is_freed_at_once(app: Flask, path: str, body: Any) -> None:
    """By reference counting: the cyclic collector counts objects, not bytes, and would let large bodies accumulate."""
    data = json.dumps(body).encode()
    statuses = set()

    def refuse() -> None:
        # Without the test client, which keeps a reference to the body.
        environ = create_environ(
            f"{API}/{path}", method="POST", input_stream=io.BytesIO(data), content_type="application/json"
        )
        environ["CONTENT_LENGTH"] = str(len(data))
        answer = app(environ, lambda status, headers, exc_info=None: statuses.add(status[:3]))  # type: ignore[arg-type]
        b"".join(answer)
        answer.close()  # type: ignore[attr-defined]

    refuse()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(20):
            refuse()
        assert tracemalloc.get_traced_memory()[0] < 3 * len(data)
    finally:
        tracemalloc.stop()
        gc.enable()
    assert statuses <= {"401", "422"}
