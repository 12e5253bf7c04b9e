"""Tests of /health/ready: its document, its response time, and that a Redis outage does not make a replica unready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.applications import replica
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import migrate
from tests.security.test_rate_limits import wait_until
from tests.support.services.redis import RedisServer

PROMISED_SECONDS = 1.0
RETRY_SECONDS = 0.3
READY = {"status": "ready", "database": "ok", "migrations": "ok", "maintenance": False}


def check(client: FlaskClient) -> tuple[int, dict[str, Any]]:
    """Return the status and document of /health/ready, which must answer within the promised time."""
    started = time.perf_counter()
    response = client.get("/health/ready")
    assert time.perf_counter() - started < PROMISED_SECONDS
    return response.status_code, response.get_json()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis server that tests can stop and freeze."""
    with RedisServer() as server:
        yield server


@contextmanager
def client_of(database_url: str, redis: RedisServer) -> Iterator[FlaskClient]:
    """A client of an application that keeps its rate limits in Redis."""
    changes = {"redis_url": redis.url, "ratelimit_enabled": True}
    with replica(database_url, **changes) as app:
        yield app.test_client()


@pytest.fixture
def redis_client(
    app: Flask, database_url: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    """A client of an application that keeps its rate limits in Redis, and soon retries after an outage."""
    monkeypatch.setattr("app.security.rate_limits.REDIS_RETRY_SECONDS", RETRY_SECONDS)
    with client_of(database_url, redis) as client:
        yield client


def test_redis_is_listed_if_it_is_configured(client: FlaskClient, redis_client: FlaskClient) -> None:
    assert check(client) == (200, READY)
    assert check(redis_client) == (200, {**READY, "redis": "ok"})


@pytest.mark.parametrize(("begin", "end"), [("stop", "start"), ("freeze", "thaw")])
def test_a_redis_outage_is_reported_and_the_replica_stays_ready(
    redis_client: FlaskClient, redis: RedisServer, begin: str, end: str
) -> None:
    assert check(redis_client)[1]["redis"] == "ok"
    getattr(redis, begin)()
    try:
        for _ in range(3):
            assert check(redis_client) == (200, {**READY, "redis": "unavailable"})
    finally:
        getattr(redis, end)()
    wait_until(lambda: check(redis_client) == (200, {**READY, "redis": "ok"}))


def test_the_check_answers_in_time_when_database_and_redis_are_frozen(redis: RedisServer) -> None:
    with ExitStack() as stack:
        database = stack.enter_context(PostgresServer())
        url = database.create_database("gatepost")
        migrate(url)
        client = stack.enter_context(client_of(url, redis))
        assert check(client) == (200, {**READY, "redis": "ok"})
        stack.callback(redis.thaw)
        stack.callback(database.thaw)
        redis.freeze()
        database.freeze()
        found = {"status": "unready", "database": "unavailable", "migrations": "unknown", "maintenance": False}
        for _ in range(3):
            assert check(client) == (503, {**found, "redis": "unavailable"})
