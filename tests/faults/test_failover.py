"""A primary and its standby: what a server without writes means for requests and readiness, and several hosts."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlalchemy import event, text

from app import create_app
from app.components import components_of
from app.database import db, transaction
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import API, PASSWORD, migrate, problem, settings_for
from tests.faults.relay import Relay
from tests.support.loglines import logged

UNAVAILABLE = (503, "database_unavailable")
# A guard against hanging; the promise is 5 s.
SERVED_WITHIN_SECONDS = 25.0


@pytest.fixture(scope="module")
def standby(database: PostgresServer, database_url: str) -> Iterator[PostgresServer]:
    """A standby of the module's server, which has the migrated database."""
    with PostgresServer(primary=database) as server:
        yield server


@contextmanager
def application(url: str, **changes: Any) -> Iterator[Flask]:
    """An application that closes its connections at the end."""
    app = create_app(settings_for(url, **changes))
    yield app
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


def at(url: str, port: int) -> str:
    """Return a URL with another port."""
    return url.replace(f":{urlsplit(url).port}/", f":{port}/")


def write(app: Flask) -> int | tuple[int, str]:
    """Create an account; return the status, and the code of a problem."""
    name = secrets.token_hex(4)
    account = {"email": f"{name}@example.com", "name": name, "password": PASSWORD}
    response = app.test_client().post(f"{API}/auth/register", json=account)
    return response.status_code if response.status_code < 400 else problem(response)


def ready(app: Flask) -> tuple[int, str]:
    """Return the status of /health/ready and the state of the database in it."""
    response = app.test_client().get("/health/ready")
    return response.status_code, response.get_json()["database"]


def read(app: Flask) -> int:
    """Read the posts; return the status."""
    return app.test_client().get(f"{API}/posts").status_code


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most SERVED_WITHIN_SECONDS."""
    ends = time.monotonic() + SERVED_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_standby_serves_reads_and_is_not_ready(standby: PostgresServer, database_url: str) -> None:
    with application(at(database_url, standby.port)) as app, logged() as log:
        assert write(app) == UNAVAILABLE
        assert read(app) == 200
        assert [ready(app) for _ in range(3)] == [(503, "read_only")] * 3
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    reasons = [(line["logger"], line["event"], line["reason"]) for line in lines if "reason" in line]
    sentence = "The database takes no writes; it may be a standby"
    assert reasons == [
        ("gatepost.errors", "database unavailable", f"{sentence} (cannot execute INSERT in a read-only transaction)."),
        ("gatepost.health", "database read_only", f"{sentence}."),
    ]


def test_connections_to_a_standby_are_not_used_again(
    database: PostgresServer, standby: PostgresServer, database_url: str
) -> None:
    """After a switch to the primary no write fails, although the connections to the standby are still open."""
    with Relay(standby.port) as relay, application(at(database_url, relay.port)) as app:
        assert read(app) == 200
        assert ready(app) == (503, "read_only")
        relay.switch(database.port)
        assert write(app) == 201
        assert ready(app) == (200, "ok")


@pytest.mark.parametrize("way", ["request", "session"])
def test_a_refused_write_replaces_all_older_connections(database_url: str, way: str) -> None:
    """Of servers before version 14, and of one that became read-only, the application knows by the refusal only."""
    with application(database_url) as app:
        with app.app_context():
            connections = [db.engine.connect() for _ in range(3)]
            for connection in connections:
                connection.execute(text("SET default_transaction_read_only = on"))
                connection.commit()
            for connection in connections:
                connection.close()
        if way == "request":
            assert write(app) == UNAVAILABLE
        else:
            with app.app_context(), pytest.raises(Exception, match="read-only"), transaction():
                db.session.execute(text("DELETE FROM posts"))
        assert [write(app) for _ in range(3)] == [201] * 3


def test_readiness_does_not_remain_at_a_server_that_became_read_only(database_url: str) -> None:
    with application(database_url) as app:
        assert ready(app) == (200, "ok")
        with components_of(app).probe_engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = on"))
        assert ready(app) == (503, "read_only")
        assert ready(app) == (200, "ok")


def test_a_write_that_is_refused_meanwhile_does_not_affect_a_new_connection(database_url: str) -> None:
    """SQLAlchemy's pool fails if the connection that replaces a rejected one is rejected too."""
    refusal = type("Refusal", (Exception,), {"pgcode": "25006"})()
    with application(database_url) as app:
        report = components_of(app).executor.on_error
        with app.app_context():
            event.listen(db.engine, "connect", lambda *_: report(refusal))
        for _ in range(3):
            assert write(app) == 201
            report(refusal)


def test_a_database_that_is_set_read_only(database: PostgresServer, database_url: str) -> None:
    """As managed servers do when the disk is almost full. No restart is needed afterwards."""
    with application(database_url) as app:
        database.execute("ALTER DATABASE gatepost SET default_transaction_read_only = on")
        try:
            assert write(app) == UNAVAILABLE
            assert ready(app) == (503, "read_only")
        finally:
            database.execute("ALTER DATABASE gatepost RESET default_transaction_read_only")
        assert write(app) == 201
        assert ready(app) == (200, "ok")


FORMS = (
    "postgresql://{user}@{host}:{standby},{host}:{primary}/{name}?target_session_attrs=read-write",
    "postgresql://{user}@/{name}?host={host}:{standby}&host={host}:{primary}&target_session_attrs=read-write",
    "host={host},{host} port={standby},{primary} dbname={name} {account} target_session_attrs=read-write",
)


@pytest.mark.parametrize("form", FORMS, ids=["URL", "SQLAlchemy", "parameters"])
def test_the_primary_is_found_among_several_hosts(
    database: PostgresServer, standby: PostgresServer, database_url: str, form: str
) -> None:
    parts = urlsplit(database_url)
    user, account = parts.netloc.rpartition("@")[0], f"user={parts.username} password={parts.password}"
    ports = {"primary": database.port, "standby": standby.port}
    url = form.format(user=user, account=account, host=LOOPBACK, name="gatepost", **ports)
    migrate(url)
    with application(url) as app:
        assert ready(app) == (200, "ok")
        assert write(app) == 201


def test_a_host_that_does_not_answer_is_skipped(database: PostgresServer, database_url: str) -> None:
    """libpq alone would wait for it until the deadline of each connection."""
    with closing(socket.create_server((LOOPBACK, 0))) as silent:
        port = silent.getsockname()[1]
        url = database_url.replace(f":{database.port}/", f":{port},{LOOPBACK}:{database.port}/")
        migrate(f"{url}?connect_timeout=1")
        with application(url, db_connect_timeout_seconds=0.3) as app:
            assert write(app) == UNAVAILABLE
            wait_until(lambda: ready(app) == (200, "ok"))
            wait_until(lambda: write(app) == 201)
            assert [write(app) for _ in range(3)] == [201] * 3
