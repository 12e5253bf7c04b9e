"""The log of a server: the line of a request describes the whole response, and every line is one JSON object."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine, insert

from app.posts.models import Post
from gatepost.testing.races import Arena, Member
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import API, migrate
from tests.faults.relay import Relay
from tests.servers.wire import ORIGIN, Connection, ask, bearer, get, json_request, request, wait_until
from tests.support.services.redis import RedisServer

EXPORT = f"{API}/users/<id:user_id>/export"
# More than the buffers of the kernel and of the server hold: a response of 20 MB.
POSTS, CONTENT = 400, "x" * 50_000
# Runs in the server's first process as soon as a file exists: a library that logs, a warning, a thread that ends by
# sys.exit(), which is no error, and one that fails.
INTRUDER = """
import logging, os, sys, threading, time, warnings

def intrude():
    while not os.path.exists(os.environ["INTRUDE_WHEN"]):
        time.sleep(0.05)
    logging.getLogger("some.library").warning("a library logs\\nsomething")
    warnings.warn("a warning of Python")
    ending = threading.Thread(target=sys.exit, args=["a thread ends"])
    ending.start()
    ending.join()
    raise RuntimeError("a thread fails")

threading.Thread(target=intrude, daemon=True).start()
"""


def entries(server: GatepostServer, since: int = 0) -> list[dict[str, Any]]:
    """Return the lines of the log after a position, each of which must be a JSON object."""
    found = []
    for line in server.log_text()[since:].splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            pytest.fail(f"not JSON: {line!r}")
        assert isinstance(entry, dict), line
        assert {"time", "level", "logger", "event"} <= entry.keys(), line
        found.append(entry)
    return found


def add_posts(engine: Engine, author_id: int) -> None:
    """Give an author posts of 20 MB."""
    now = datetime.now(UTC)
    post = {
        "author_id": author_id,
        "title": "T",
        "content": CONTENT,
        "status": "published",
        "published_at": now,
        "created_at": now,
        "updated_at": now,
    }
    with engine.begin() as connection:
        connection.execute(insert(Post), [post] * POSTS)


def export_of(member: Member, token: str) -> bytes:
    """Return the request for a member's export."""
    return request(f"GET {API}/users/{member.id}/export HTTP/1.1", bearer(token), "Connection: close")


def wait_for_export(server: GatepostServer, since: int) -> dict[str, Any]:
    """Return the line of an export, which the server writes after the client has the response."""
    found: list[dict[str, Any]] = []

    def is_logged() -> bool:
        # The last line may not be complete yet.
        text = server.log_text()[since:].rpartition("\n")[0]
        found[:] = [line for line in map(json.loads, text.splitlines()) if line.get("route") == EXPORT]
        return bool(found)

    wait_until(is_logged, "the export is not logged")
    return found[0]


class TestRequests:
    @pytest.fixture
    def member(self, arena: Arena) -> Member:
        """A member with posts of 20 MB."""
        member = arena.join()
        add_posts(arena.engine, member.id)
        return member

    def test_a_streamed_response_is_logged_when_its_body_has_left(self, arena: Arena, member: Member) -> None:
        data = export_of(member, member.log_in().access)
        before = len(arena.server.log_text())
        answer = ask(arena.server, data)
        assert answer is not None
        assert answer.status == 200
        line = wait_for_export(arena.server, before)
        assert line["bytes_out"] == len(answer.body) > POSTS * len(CONTENT)
        # The caller, and one or more for each part of the export.
        assert line["sql_count"] >= 5
        assert 0 < line["sql_ms"] < line["duration_ms"]
        assert line["user_id"] == member.id
        assert "aborted" not in line

    def test_a_client_that_disconnects_is_logged_too(self, arena: Arena, member: Member) -> None:
        data = export_of(member, member.log_in().access)
        before = len(arena.server.log_text())
        with Connection(arena.server) as connection:
            connection.send(data)
            connection.receive_some(1000)
            connection.reset()
        line = wait_for_export(arena.server, before)
        assert (line["status"], line["aborted"]) == (200, True)
        assert 0 < line["bytes_out"] < POSTS * len(CONTENT)

    def test_the_path_of_an_unknown_route_is_logged_without_the_query(self, server: GatepostServer) -> None:
        before = len(server.log_text())
        assert get(server, "/no%0Awhere%e2%80%a8?token=secret").status == 404
        wait_until(lambda: '"status":404' in server.log_text()[before:], "the request is not logged")
        [line] = [line for line in entries(server, before) if line.get("status") == 404]
        assert line["path"] == "/no\ufffdwhere\ufffd"


@pytest.fixture
def relayed(postgres: PostgresServer) -> Iterator[tuple[Relay, str]]:
    """A migrated PostgreSQL database behind a relay, and its URL there."""
    url = postgres.create_database(f"logs_{os.urandom(4).hex()}")
    migrate(url)
    port = urlsplit(url).port or 5432
    with Relay(port) as relay:
        yield relay, url.replace(f":{port}/", f":{relay.port}/")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis that the test stops."""
    try:
        with RedisServer() as server:
            yield server
    except ServiceMissing as error:
        skip_or_fail(error)


def test_every_line_of_a_production_process_is_a_json_object(
    kind: str, relayed: tuple[Relay, str], redis: RedisServer, tmp_path: Path
) -> None:
    relay, url = relayed
    (tmp_path / "sitecustomize.py").write_text(INTRUDER)
    environment = {
        "APP_ENV": "production",
        "CORS_ORIGINS": ORIGIN,
        "DATABASE_URL": url,
        "REDIS_URL": redis.url,
        "PYTHONPATH": str(tmp_path),
        "INTRUDE_WHEN": str(tmp_path / "now"),
        "PYTHONWARNINGS": "always",
        "LOG_LEVEL": "DEBUG",
    }
    with GatepostServer(environment, server=kind) as server:
        (tmp_path / "now").touch()
        use(server)
        export_while_the_database_fails(server, relay)
        redis.kill()
        use(server)
        relay.refuse()
        assert get(server, f"{API}/posts").status == 503
        assert get(server, "/health/ready").status == 503
        relay.accept()
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: get_or_none(server) == 200, "the server does not recover")
        server.signal(signal.SIGHUP)
        wait_until(lambda: get_or_none(server) == 200, "the server does not recover")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        lines = entries(server)
    events = "\n".join(str(line["event"]) for line in lines)
    for expected in ("a library logs", "a warning of Python", "redis outage", "database unavailable", "unhandled"):
        assert expected in events, events
    assert any("a thread fails" in line.get("exception", "") for line in lines)
    assert not any("a thread ends" in line.get("exception", "") for line in lines)


def get_or_none(server: GatepostServer) -> int | None:
    """Return the status of a read, or None if the server closes the connection."""
    with contextlib.suppress(OSError, AssertionError, ValueError):
        return get(server, f"{API}/posts").status
    return None


def use(server: GatepostServer) -> None:
    """Send good, bad and malformed requests."""
    for data in (
        request(f"GET {API}/posts HTTP/1.1", "Origin: https://evil.example"),
        request("GET //nowhere HTTP/1.1"),
        json_request("POST", f"{API}/auth/login", {"email": "nobody@example.com", "password": "wrong"}),
        request(f"POST {API}/auth/login HTTP/1.1", "Content-Type: application/json", "Content-Length: 1", body="{"),
        request(f"POST {API}/auth/login HTTP/1.1", "Content-Length: 100", body="cut"),
        request("GET / HTTP/9.9"),
        request("GET /\x00 HTTP/1.1"),
        request("GET / HTTP/1.1", "Transfer-Encoding: chunked", body="zz\r\n"),
        request("GET / HTTP/1.1", "A: " + "x" * 100_000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP\r\n\r\n",
        b"\r\n\r\n\r\n",
    ):
        with contextlib.suppress(OSError, ValueError):
            ask(server, data, end_sending=True)
    with Connection(server) as connection:
        connection.send(request(f"GET {API}/posts HTTP/1.1"))
        connection.reset()


def export_while_the_database_fails(server: GatepostServer, relay: Relay) -> None:
    """Cut the database's connections in the middle of a long response."""
    arena = Arena.of(server)
    member = arena.join()
    add_posts(arena.engine, member.id)
    data = export_of(member, member.log_in().access)
    before = len(server.log_text())
    with Connection(server) as connection:
        connection.send(data)
        connection.receive_some(1000)
        relay.cut()
        with contextlib.suppress(OSError):
            while connection.receive_some(1_000_000):
                pass
    wait_for_export(server, before)
