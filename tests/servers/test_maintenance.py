"""Maintenance: every worker sees the switch."""

from __future__ import annotations

import time

from gatepost.testing.races import Arena, call
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API, PASSWORD
from tests.servers.wire import Connection, connections_to_workers, request

# A guard against a worker that never sees the switch. The contract promises one second.
OBEY_SECONDS = 10
ON = {"maintenance": True, "message": "Back at noon.", "retry_after": 600}


def wait_for_status(connections: list[Connection], status: int) -> None:
    """Wait until each worker answers a list of posts with this status."""
    deadline = time.monotonic() + OBEY_SECONDS
    for connection in connections:
        while (found := connection.ask(request(f"GET {API}/posts HTTP/1.1")).status) != status:
            assert found in (200, 503)
            assert time.monotonic() < deadline, f"a worker still answers {found}"
            time.sleep(0.05)


def test_every_worker_obeys_the_switch_on_and_off(server: GatepostServer) -> None:
    arena = Arena.of(server)
    admin, member = arena.join("admin"), arena.join()
    token = admin.log_in().access
    with connections_to_workers(server) as connections:
        wait_for_status(connections, 200)
        try:
            assert call(server, "PATCH", "/service-context", token=token, body=ON).status == 200
            wait_for_status(connections, 503)
            for connection in connections:
                answer = connection.ask(request(f"GET {API}/posts HTTP/1.1"))
                assert answer.outcome == (503, "maintenance")
                assert answer.headers["retry-after"] == "600"
                assert answer.json["detail"] == "Back at noon."
                for path in ("/health", "/health/ready", "/metrics", "/openapi.json"):
                    assert connection.ask(request(f"GET {path} HTTP/1.1")).status != 404
                assert connection.ask(request("GET /health HTTP/1.1")).status == 200
            credentials = {"email": admin.email, "password": PASSWORD}
            assert call(server, "POST", "/auth/login", body=credentials).status == 200
            credentials = {"email": member.email, "password": PASSWORD}
            assert call(server, "POST", "/auth/login", body=credentials).outcome == (503, "maintenance")
        finally:
            off = call(server, "PATCH", "/service-context", token=token, body={"maintenance": False})
            assert off.status == 200
        wait_for_status(connections, 200)
