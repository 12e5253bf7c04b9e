"""Readiness: what it tells, how soon, and what is no reason to send requests elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, drain
from app.components import components_of
from app.database import db
from tests.conftest import migrate, problem, settings_for
from tests.security.test_rate_limits import wait_until
from tests.support.services.postgres import PostgresServer
from tests.support.services.redis import RedisServer

PROMISED_SECONDS = 1.0
REST_SECONDS = 0.3
WELL = {"status": "ready", "database": "ok", "migrations": "ok", "maintenance": False}


def told(client: FlaskClient) -> tuple[int, dict[str, Any]]:
    """Status and document of the probe, which must come in time."""
    started = time.perf_counter()
    response = client.get("/health/ready")
    assert time.perf_counter() - started < PROMISED_SECONDS
    return response.status_code, response.get_json()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis to stop and freeze."""
    with RedisServer() as server:
        yield server


@contextmanager
def serving(database_url: str, redis: RedisServer) -> Iterator[FlaskClient]:
    """A client of an application that counts in Redis."""
    changes = {"redis_url": redis.url, "ratelimit_enabled": True}
    app = create_app(settings_for(database_url, **changes))
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


@pytest.fixture
def counting(
    app: Flask, database_url: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    """A client of an application that counts in Redis, and soon tries again when that is gone."""
    monkeypatch.setattr("app.security.rate_limits.REDIS_RETRY_SECONDS", REST_SECONDS)
    with serving(database_url, redis) as client:
        yield client


def test_redis_is_told_of_where_it_is_configured(client: FlaskClient, counting: FlaskClient) -> None:
    assert told(client) == (200, WELL)
    assert told(counting) == (200, {**WELL, "redis": "ok"})


def test_without_redis_it_is_degraded_and_still_ready(counting: FlaskClient, redis: RedisServer) -> None:
    assert told(counting)[1]["redis"] == "ok"
    redis.stop()
    try:
        for _ in range(3):
            assert told(counting) == (200, {**WELL, "redis": "unavailable"})
    finally:
        redis.start()
    wait_until(lambda: told(counting) == (200, {**WELL, "redis": "ok"}))


def test_a_frozen_redis_costs_nobody_the_probe(counting: FlaskClient, redis: RedisServer) -> None:
    assert told(counting)[1]["redis"] == "ok"
    redis.freeze()
    try:
        for _ in range(3):
            assert told(counting) == (200, {**WELL, "redis": "unavailable"})
    finally:
        redis.thaw()
    wait_until(lambda: told(counting) == (200, {**WELL, "redis": "ok"}))


def test_when_all_is_frozen_it_still_answers_in_time(redis: RedisServer) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(PostgresServer())
        url = database.create_database("gatepost")
        migrate(url)
        client = stack.enter_context(serving(url, redis))
        assert told(client) == (200, {**WELL, "redis": "ok"})
        stack.callback(redis.thaw)
        stack.callback(database.thaw)
        redis.freeze()
        database.freeze()
        found = {"status": "unready", "database": "unavailable", "migrations": "unknown", "maintenance": False}
        for _ in range(3):
            assert told(client) == (503, {**found, "redis": "unavailable"})


def test_a_process_that_drains_says_so(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_shared", bytearray(1))
    assert told(client) == (200, WELL)
    drain.begin()
    assert told(client) == (503, {**WELL, "status": "draining"})
    # It goes on serving what still comes.
    assert problem(client.get("/api/v1/posts/1")) == (404, "not_found")
    assert client.get("/health").get_json() == {"status": "healthy"}
