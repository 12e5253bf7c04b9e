"""Tests of maintenance mode: by HTTP and by command, and on every worker within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from app.components import components_of
from app.database import db
from app.maintenance.service import FRESH_SECONDS, STALE_SECONDS, MaintenanceCache, State
from gatepost.testing.applications import application
from gatepost.testing.races import Arena, call, on_every_worker
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API, PASSWORD, Person, problem

ON = {"maintenance": True, "message": "Back at noon.", "retry_after": 600}


@pytest.fixture
def admin_token(shared_server: GatepostServer) -> str:
    """An administrator's access token for the running server."""
    return Arena.of(shared_server).join("admin").log_in().access


def set_maintenance(app: Flask, admin: Person, **changes: object) -> None:
    """Change the state, and empty the cache so that the change takes effect at once."""
    assert admin.patch("/service-context", json=changes).status_code == 200
    components_of(app).maintenance = MaintenanceCache()


def test_maintenance_is_off_by_default(carol: Person) -> None:
    response = carol.get("/service-context")
    assert response.status_code == 200
    assert response.get_json() == {"maintenance": False, "message": "", "retry_after": 300, "updated_at": None}


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_only_administrators_can_read_and_change_the_state(alice: Person, client: FlaskClient, method: str) -> None:
    assert problem(client.open(f"{API}/service-context", method=method)) == (401, "authentication_required")
    assert problem(alice.call(method, "/service-context", json=ON)) == (403, "forbidden")


def test_all_other_routes_answer_503_with_the_message(
    app: Flask, carol: Person, alice: Person, client: FlaskClient
) -> None:
    set_maintenance(app, carol, **ON)
    for response in (client.get(f"{API}/posts"), alice.get("/auth/me"), alice.post("/posts", json={})):
        assert problem(response) == (503, "maintenance")
        assert response.headers["Retry-After"] == "600"
        assert response.get_json()["detail"] == "Back at noon."


def test_health_checks_documents_and_the_service_context_still_answer(
    app: Flask, carol: Person, client: FlaskClient
) -> None:
    set_maintenance(app, carol, **ON)
    for path in ("/health", "/health/ready", "/metrics", "/openapi.json", "/problems/maintenance"):
        assert client.get(path).status_code == 200, path
    assert client.get("/health/ready").get_json()["maintenance"] is True
    assert carol.get("/service-context").get_json()["message"] == "Back at noon."
    assert client.options(f"{API}/posts").status_code == 204
    assert problem(client.get(f"{API}/nothing")) == (404, "not_found")


def test_only_administrators_can_log_in(app: Flask, carol: Person, alice: Person, client: FlaskClient) -> None:
    set_maintenance(app, carol, **ON)
    body = {"email": alice.email, "password": PASSWORD}
    assert problem(client.post(f"{API}/auth/login", json=body)) == (503, "maintenance")
    wrong = {"email": alice.email, "password": "not the password"}
    assert problem(client.post(f"{API}/auth/login", json=wrong)) == (401, "invalid_credentials")
    assert client.post(f"{API}/auth/login", json={**body, "email": carol.email}).status_code == 200
    set_maintenance(app, carol, maintenance=False)
    assert len(alice.get("/auth/sessions").get_json()["items"]) == 1, "the refused login left a session"


def test_off_serves_again_and_keeps_the_message(app: Flask, carol: Person, client: FlaskClient) -> None:
    set_maintenance(app, carol, **ON)
    set_maintenance(app, carol, maintenance=False)
    assert client.get(f"{API}/posts").status_code == 200
    assert carol.get("/service-context").get_json()["message"] == "Back at noon."


@pytest.mark.parametrize(
    "changes",
    [{"maintenance": 1}, {"maintenance": "true"}, {"retry_after": 0}, {"retry_after": 1.0}, {"message": 7}, {"x": 1}],
)
def test_invalid_changes_are_refused_and_change_nothing(carol: Person, changes: dict[str, object]) -> None:
    assert problem(carol.patch("/service-context", json=changes)) == (422, "validation_error")
    assert carol.get("/service-context").get_json()["updated_at"] is None


def test_the_current_etag_is_accepted(carol: Person) -> None:
    for seconds in (5, 6):  # before the row exists, and after
        etag = carol.get("/service-context").headers["ETag"]
        changed = carol.patch("/service-context", json={"retry_after": seconds}, headers={"If-Match": etag})
        assert changed.status_code == 200
        assert changed.headers["ETag"] == carol.get("/service-context").headers["ETag"] != etag


def test_a_stale_etag_is_refused(carol: Person) -> None:
    etag = carol.get("/service-context").headers["ETag"]
    assert carol.patch("/service-context", json={"retry_after": 5}).status_code == 200
    response = carol.patch("/service-context", json=ON, headers={"If-Match": etag})
    assert problem(response) == (412, "precondition_failed")
    assert carol.get("/service-context").get_json()["maintenance"] is False


def test_the_commands_change_the_same_state(app: Flask, client: FlaskClient) -> None:
    runner = app.test_cli_runner()
    result = runner.invoke(args=["maintenance", "on", "--message", "Moving house.", "--retry-after", "90"])
    assert result.exit_code == 0
    assert "maintenance: on" in result.output
    response = client.get(f"{API}/posts")
    assert problem(response) == (503, "maintenance")
    assert (response.get_json()["detail"], response.headers["Retry-After"]) == ("Moving house.", "90")
    assert "Moving house." in runner.invoke(args=["maintenance", "status"]).output
    assert "maintenance: off" in runner.invoke(args=["maintenance", "off"]).output
    for refused in (["--message", "x" * 501], ["--message", "\x1b[2J"], ["--retry-after", "0"]):
        assert runner.invoke(args=["maintenance", "on", *refused]).exit_code != 0, refused
    assert "maintenance: off" in runner.invoke(args=["maintenance", "status"]).output


class Source:
    """The state that a cache reads, a clock, and the number of reads."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads = 0
        self.state = State()
        self.error: Exception | None = None

    def read(self) -> State:
        """Return the state and count the read, or raise the error."""
        self.reads += 1
        if self.error:
            raise self.error
        return self.state


def test_the_cache_reads_again_only_after_its_time() -> None:
    source = Source()
    cache = MaintenanceCache(source.read, lambda: source.now)
    for _ in range(100):
        cache.state()
    assert source.reads == 1
    source.state = State(maintenance=True)
    source.now += FRESH_SECONDS
    assert cache.state().maintenance
    assert source.reads == 2
    assert FRESH_SECONDS < STALE_SECONDS < 1


def test_the_cache_keeps_its_state_during_an_outage() -> None:
    source = Source()
    source.state = State(maintenance=True)
    cache = MaintenanceCache(source.read, lambda: source.now)
    cache.state()
    source.error = OperationalError("SELECT", {}, Exception("the database is gone"))
    source.now += 10
    with pytest.raises(OperationalError):
        cache.state()
    assert cache.state().maintenance, "the next request must get the cached state"
    source.error = None
    source.state = State()
    source.now += 10
    assert not cache.state().maintenance


def test_the_state_is_off_if_the_table_does_not_exist() -> None:
    source = Source()
    source.error = OperationalError("SELECT", {}, Exception("no such table: service_context"))
    assert not MaintenanceCache(source.read, lambda: source.now).state().maintenance


def change_maintenance(server: GatepostServer, token: str, *, maintenance: bool) -> None:
    """Turn maintenance mode of a running server on or off."""
    reply = call(server, "PATCH", "/service-context", token=token, body={"maintenance": maintenance})
    assert reply.status == 200, reply.content


def statuses(server: GatepostServer) -> list[int]:
    """Return the status that each worker answers with."""
    return [reply.status for reply in on_every_worker(server, lambda: call(server, "GET", "/posts"))]


def test_a_change_takes_effect_on_every_worker_within_a_second(shared_server: GatepostServer, admin_token: str) -> None:
    assert statuses(shared_server) == [200, 200]
    try:
        change_maintenance(shared_server, admin_token, maintenance=True)
        time.sleep(1)
        assert statuses(shared_server) == [503, 503]
    finally:
        change_maintenance(shared_server, admin_token, maintenance=False)
    time.sleep(1)
    assert statuses(shared_server) == [200, 200]


def test_the_state_survives_a_restart(shared_server: GatepostServer, admin_token: str) -> None:
    try:
        change_maintenance(shared_server, admin_token, maintenance=True)
        assert shared_server.stop() == 0
        shared_server.start()
        assert statuses(shared_server) == [503, 503]
    finally:
        change_maintenance(shared_server, admin_token, maintenance=False)
    time.sleep(1)
    assert statuses(shared_server) == [200, 200]


# During migrations


@contextmanager
def migrating(app: Flask, *tables: str) -> Iterator[None]:
    """Hold the locks that a migration of these tables holds until it commits."""
    engine = create_engine(components_of(app).settings.database_url, poolclass=NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.connection.dbapi_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ALTER TABLE posts ADD COLUMN soon TEXT")
        else:
            connection.execute(text(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"))
        try:
            yield
        finally:
            connection.rollback()


def test_maintenance_stays_on_while_tables_are_migrated(app: Flask, carol: Person, client: FlaskClient) -> None:
    set_maintenance(app, carol, **ON)
    with migrating(app, "users", "sessions", "posts", "idempotency_keys"):
        assert problem(client.get(f"{API}/posts")) == (503, "maintenance")
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.get_json()["maintenance"]) == (200, True)
        if components_of(app).settings.uses_sqlite:
            return  # SQLite has one writer at a time, and the migration is it
        runner = app.test_cli_runner()
        assert "maintenance: off" in runner.invoke(args=["maintenance", "off"]).output
        assert "maintenance: on" in runner.invoke(args=["maintenance", "on"]).output


@pytest.mark.parametrize("maintenance", [True, False])
def test_the_cached_state_stays_valid_while_its_table_is_migrated(
    app: Flask, carol: Person, client: FlaskClient, maintenance: bool
) -> None:
    set_maintenance(app, carol, maintenance=maintenance)
    before = client.get(f"{API}/posts").status_code
    assert before == (503 if maintenance else 200)
    with migrating(app, "service_context"):
        ends = time.monotonic() + 2 * FRESH_SECONDS + STALE_SECONDS
        while time.monotonic() < ends:
            assert client.get(f"{API}/posts").status_code == before
            time.sleep(0.05)


def test_maintenance_is_off_before_its_table_is_created(app: Flask, carol: Person, client: FlaskClient) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE service_context RENAME TO not_created_yet"))
    try:
        assert client.get(f"{API}/posts").status_code == 200
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("ALTER TABLE not_created_yet RENAME TO service_context"))
    set_maintenance(app, carol, **ON)
    assert problem(client.get(f"{API}/posts")) == (503, "maintenance")


# With a prefix


def test_the_same_routes_are_served_with_a_prefix(app: Flask, carol: Person) -> None:
    base = f"/example{API}"
    with application(replace(components_of(app).settings, service_prefix="/example")) as other:
        client = other.test_client()
        assert client.get(f"{base}/posts").status_code == 200
        assert client.patch(f"{base}/service-context", json=ON, headers=carol.headers).status_code == 200
        components_of(other).maintenance = MaintenanceCache()
        refused = client.get(f"{base}/posts")
        assert (refused.status_code, refused.get_json()["code"]) == (503, "maintenance")
        for path in ("/health", "/health/ready", "/metrics", "/example/health", "/example/health/ready"):
            assert client.get(path).status_code == 200, path
        for path in ("/example/metrics", "/example/openapi.json", "/example/problems/maintenance"):
            assert client.get(path).status_code == 200, path
        assert client.get(f"{base}/service-context", headers=carol.headers).status_code == 200
        login = {"email": carol.email, "password": PASSWORD}
        assert client.post(f"{base}/auth/login", json=login).status_code == 200
        # A path without the prefix is not served, and stays 404.
        assert client.get(f"{API}/posts").status_code == 404
