"""Tests of the statement and connection counts in the log and the metrics, and of the request id in PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from app.components import components_of
from app.database import db
from app.maintenance.service import MaintenanceCache, State
from app.observability import metrics
from gatepost.testing.applications import replica
from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem
from tests.support.loglines import logged

POST = {"title": "T", "content": "C"}


@pytest.fixture(autouse=True)
def constant_maintenance_state(app: Flask) -> None:
    """Replace the maintenance state by a constant, so that only the statements of the route are counted."""
    components_of(app).maintenance = MaintenanceCache(State)


def line_of(client: FlaskClient, path: str, **options: Any) -> dict[str, Any]:
    """Send a request and return its log line."""
    with logged() as log:
        client.open(path, **options)
    [line] = [json.loads(line) for line in log.getvalue().splitlines() if '"event":"request"' in line]
    assert isinstance(line, dict)
    return line


def test_each_line_has_its_own_statements_and_time(client: FlaskClient, alice: Person) -> None:
    for _ in range(2):
        line = line_of(client, f"{API}/posts")
        assert line["sql_count"] == 1
        assert 0 < line["sql_ms"] < line["duration_ms"]
    health = line_of(client, "/health")
    assert (health["sql_count"], health["sql_ms"]) == (0, 0)


def test_a_line_has_the_number_of_statements(app: Flask, client: FlaskClient, alice: Person) -> None:
    with counted(app) as statements:
        line = line_of(client, f"{API}/posts", method="POST", json=POST, headers=alice.headers)
    assert line["status"] == 201
    assert line["sql_count"] == len(statements) > 1


def test_a_statement_that_fails_is_counted_with_its_time(database_url: str, alice: Person, other: Any) -> None:
    post = alice.post("/posts", json=POST).get_json()
    other.execute(text("UPDATE posts SET title = 'mine' WHERE id = :id"), {"id": post["id"]})
    path = f"{API}/posts/{post['id']}"
    with replica(database_url, db_lock_timeout_ms=300) as impatient:
        line = line_of(impatient.test_client(), path, method="PATCH", json={"title": "X"}, headers=alice.headers)
    assert (line["status"], line["code"]) == (503, "database_unavailable")
    assert line["duration_ms"] > line["sql_ms"] > 0.8 * 300


class TestStreams:
    """An export, which reads rows and sends them in parts after the view has returned."""

    @pytest.fixture
    def path(self, alice: Person) -> str:
        """The path of Alice's export, with some posts in it."""
        for number in range(3):
            assert alice.post("/posts", json={**POST, "title": f"Post {number}"}).status_code == 201
        return f"{API}/users/{alice.id}/export"

    def test_a_line_has_the_time_size_and_statements_of_the_whole_body(
        self, app: Flask, client: FlaskClient, alice: Person, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exporters = components_of(app).exporters
        exported = dict(exporters)

        def export_slowly(user_id: int) -> Any:
            time.sleep(0.05)
            return exported["posts"](user_id)

        monkeypatch.setitem(exporters, "posts", export_slowly)
        with counted(app) as statements, logged() as log:
            data = client.get(path, headers=alice.headers).data
        [line] = [json.loads(line) for line in log.getvalue().splitlines()]
        assert line["sql_count"] == len(statements) >= 3
        assert line["bytes_out"] == len(data) > 500
        assert line["duration_ms"] > 50
        assert 0 < line["sql_ms"] < line["duration_ms"]
        assert (line["status"], line["user_id"]) == (200, alice.id)
        assert len(line["request_id"]) == 32
        assert "aborted" not in line

    def test_statements_count_for_their_request_although_others_run_meanwhile(
        self, client: FlaskClient, alice: Person, path: str
    ) -> None:
        with logged() as log:
            streamed = client.get(path, headers=alice.headers, buffered=False)
            chunks: Any = iter(streamed.response)
            next(chunks)
            assert client.get(f"{API}/posts").status_code == 200
            rest = [*chunks]
            assert client.get("/health").status_code == 200
            streamed.close()
        posts, health, export = [json.loads(line) for line in log.getvalue().splitlines()]
        assert (posts["sql_count"], health["sql_count"]) == (1, 0)
        assert export["sql_count"] >= 3
        assert b"".join(rest).endswith(b"}")

    def test_a_client_that_disconnects_is_logged_with_what_was_sent(
        self, client: FlaskClient, alice: Person, path: str
    ) -> None:
        with logged() as log:
            response = client.get(path, headers=alice.headers, buffered=False)
            chunks = iter(response.response)
            sent = next(chunks)
            assert log.getvalue() == ""
            response.close()
        [line] = [json.loads(line) for line in log.getvalue().splitlines()]
        assert (line["status"], line["aborted"]) == (200, True)
        assert 0 < len(sent) <= line["bytes_out"] < 500

    def test_a_body_that_fails_is_logged(
        self, app: Flask, client: FlaskClient, alice: Person, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(components_of(app).exporters, "posts", lambda user_id: 1 / 0)
        before = metrics.IN_FLIGHT.collect()
        with logged() as log, pytest.raises(ZeroDivisionError):
            client.get(path, headers=alice.headers)
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        assert next(line for line in lines if line["event"] == "request")["aborted"] is True
        assert metrics.IN_FLIGHT.collect() == before


def test_a_response_without_a_body_is_complete(client: FlaskClient, alice: Person) -> None:
    for method, path, status in (("HEAD", "/posts", 200), ("DELETE", f"/auth/sessions/{alice.session_id}", 204)):
        line = line_of(client, API + path, method=method, headers=alice.headers)
        assert (line["status"], line["bytes_out"], line.get("aborted")) == (status, 0, None)


@pytest.fixture
def other(app: Flask) -> Iterator[Any]:
    """A connection of another database client, with an open transaction."""
    engine = create_engine(components_of(app).settings.database_url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


# SQLite has no view of its connections.
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("path", ["/posts", "/auth/me"])
def test_postgresql_sees_the_request_id(client: FlaskClient, alice: Person, other: Any, path: str) -> None:
    client.get(API + path, headers={**alice.headers, "X-Request-ID": "trace.me_1-2"})
    seen = other.scalars(
        text("SELECT query FROM pg_stat_activity WHERE application_name = 'gatepost' AND datname = current_database()")
    ).all()
    assert [query for query in seen if query.endswith("/* request_id=trace.me_1-2 */")]


@on_postgresql
def test_a_request_id_can_not_end_the_comment(client: FlaskClient, other: Any) -> None:
    response = client.get(f"{API}/posts", headers={"X-Request-ID": "*/ SELECT 1 /*"})
    assert response.status_code == 200
    seen = other.scalars(text("SELECT query FROM pg_stat_activity WHERE application_name = 'gatepost'")).all()
    assert [query for query in seen if query.endswith(f"/* request_id={response.headers['X-Request-ID']} */")]
    assert not [query for query in seen if "SELECT 1 /*" in query]


def pool_in_use(client: FlaskClient) -> float:
    """Return the number of pool connections in use, from the metrics."""
    [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith("gatepost_db_pool_in_use ")]
    return float(line.split()[1])


@on_postgresql
def test_terminated_connections_are_not_counted_as_in_use(
    app: Flask, client: FlaskClient, alice: Person, other: Any
) -> None:
    before = pool_in_use(client)
    for _ in range(3):
        alice.post("/posts", json=POST)
        other.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'gatepost' AND datname = current_database() AND pid != pg_backend_pid()"
            )
        )
        assert client.get(f"{API}/posts").status_code == 200
        alice.post("/posts", json=POST)
    with app.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert pool_in_use(client) == before
    assert problem(client.get(f"{API}/posts/999")) == (404, "not_found")
