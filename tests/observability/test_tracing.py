"""Tests of the traces that are exported if OTEL_EXPORTER_OTLP_ENDPOINT is set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app import create_app
from app.database import db
from app.observability import tracing
from app.settings import ConfigurationError
from gatepost.testing.races import on_every_worker
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API, migrate, settings_for
from tests.observability.test_metrics import fetch
from tests.security.test_rate_limits import wait_until


class Collector(HTTPServer):
    """An HTTP server in place of an OpenTelemetry collector."""

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), Handler)
        self.received: list[tuple[str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """Stores the path and body of each request."""

    server: Collector

    def do_POST(self) -> None:
        """Receive one batch of spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Suppress the request log of the standard library."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_requests_and_statements_are_traced(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('traced') / 'gatepost.db'}"
    migrate(url)
    monkeypatch.setenv(tracing.ENDPOINT, f"http://{LOOPBACK}:{collector.server_port}")
    app = create_app(settings_for(url))
    assert app.test_client().get(f"{API}/posts").status_code == 200
    assert app.test_client().get("/health").status_code == 200
    app.extensions["gatepost.tracer_provider"].shutdown()
    with app.app_context():
        db.engine.dispose()
    [(path, body)] = collector.received
    assert path == "/v1/traces"
    assert b"GET /api/v1/posts" in body
    assert b"SELECT" in body
    assert b"gatepost" in body
    assert b"GET /health" not in body


def test_forked_workers_export_their_spans(collector: Collector) -> None:
    environment = {tracing.ENDPOINT: f"http://{LOOPBACK}:{collector.server_port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with GatepostServer(environment) as server:
        replies = on_every_worker(server, lambda: fetch(server, "/problems/not-found"))
        assert [reply.status for reply in replies] == [200, 200]

        def spans() -> int:
            return sum(body.count(b"GET /problems/<name>") for _, body in collector.received)

        wait_until(lambda: spans() == 2)


def test_nothing_is_traced_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv(tracing.ENDPOINT, raising=False)
    app = create_app(settings_for(f"sqlite:///{tmp_path}/gatepost.db"))
    assert "gatepost.tracer_provider" not in app.extensions


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"requirements-otel\.txt"):
        create_app(settings_for(f"sqlite:///{tmp_path}/gatepost.db"))
