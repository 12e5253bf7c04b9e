"""The wait between "stop sending me requests" and the stop itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.drain import is_draining
from tests.conftest import migrate
from tests.server.small_server import GET, Server, read_answer, read_to_end, receive, request, serving
from tests.support.services import LOOPBACK
from tests.support.services.gunicorn import GatepostServer

DRAIN_SECONDS = 3
SEE = "GET /draining HTTP/1.1"


def see(server: Server) -> tuple[int, bool]:
    """Return the worker that answered, and whether it is draining."""
    pid, seen = server.ask(request(SEE, "Connection: close")).body.decode().split()
    return int(pid), seen == "True"


def signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def master_of(server: Server) -> psutil.Process:
    return psutil.Process(server.process.pid)


def test_outside_of_gunicorn_nothing_drains() -> None:
    assert is_draining() is False


def test_all_workers_know_at_once_and_go_on_serving(tmp_path: Path) -> None:
    with (
        serving(tmp_path, WEB_CONCURRENCY="2", DRAIN_SECONDS=str(DRAIN_SECONDS)) as server,
        server.connect() as kept,
        server.connect() as running,
    ):
        kept.sendall(request(SEE))
        first = receive(kept)
        assert (first.headers["connection"], first.body.endswith(b"False")) == ("keep-alive", True)
        master_of(server).send_signal(signal.SIGTERM)
        began = time.monotonic()
        time.sleep(0.2)
        kept.sendall(request(SEE))
        second = receive(kept)
        assert (second.headers["connection"], second.body.endswith(b"True")) == ("close", True)
        assert kept.recv(1) == b""
        pids = set()
        while time.monotonic() - began < DRAIN_SECONDS - 1:
            pid, seen = see(server)
            pids.add(pid)
            assert seen
        assert len(pids) == 2
        running.sendall(request("GET /sleep?seconds=2 HTTP/1.1"))
        assert server.process.wait(timeout_seconds=15) == 0
        assert time.monotonic() - began >= DRAIN_SECONDS
        assert read_answer(read_to_end(running))[0].status == 200


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_wait_and_no_request(tmp_path: Path, second: signal.Signals) -> None:
    with serving(tmp_path, DRAIN_SECONDS="60") as server, server.connect() as running:
        running.sendall(request("GET /sleep HTTP/1.1"))
        master_of(server).send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        master_of(server).send_signal(second)
        assert server.process.wait(timeout_seconds=15) == 0
        assert read_answer(read_to_end(running))[0].status == 200


def test_signal_to_all_processes_drains_too(tmp_path: Path) -> None:
    with serving(tmp_path, WEB_CONCURRENCY="2", DRAIN_SECONDS=str(DRAIN_SECONDS)) as server:
        master = master_of(server)
        workers = master.children()
        began = time.monotonic()
        # The workers well before the master, as a busy machine may have it.
        signal_all(workers, signal.SIGTERM)
        time.sleep(0.3)
        master.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        while time.monotonic() - began < DRAIN_SECONDS - 0.5:
            pid, seen = see(server)
            assert seen
            assert pid in {worker.pid for worker in workers}
        assert server.process.wait(timeout_seconds=15) == 0


def test_worker_told_to_end_is_replaced_without_a_drain(tmp_path: Path) -> None:
    with serving(tmp_path, WEB_CONCURRENCY="2", DRAIN_SECONDS="60") as server:
        told = master_of(server).children()[0]
        told.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        while server.process.log_text().count("Booting worker") < 3:
            assert time.monotonic() < deadline
            assert see(server)[1] is False
        assert told.pid not in {see(server)[0] for _ in range(10)}


def test_worker_that_dies_in_the_drain_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, DRAIN_SECONDS="60") as server:
        master_of(server).send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        master_of(server).children()[0].kill()
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError, ValueError):
                assert see(server)[1] is True
                break
            assert time.monotonic() < deadline
        master_of(server).send_signal(signal.SIGTERM)
        assert server.process.wait(timeout_seconds=15) == 0


def test_reload_in_the_drain_does_not_end_it(tmp_path: Path) -> None:
    with serving(tmp_path, DRAIN_SECONDS=str(DRAIN_SECONDS)) as server:
        master_of(server).send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        master_of(server).send_signal(signal.SIGHUP)
        server.wait_for_log("Handling signal: hup")
        assert see(server)[1] is True
        assert server.process.wait(timeout_seconds=20) == 0


def test_readiness_says_so_while_the_api_is_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gatepost.db'}"
    migrate(url)
    with GatepostServer({"DATABASE_URL": url, "DRAIN_SECONDS": "60"}) as server:

        def get(path: str) -> tuple[int, dict[str, Any]]:
            connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            with contextlib.closing(connection):
                return answer.status, json.load(answer)

        assert get("/health/ready")[0] == 200
        server.signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while get("/health/ready")[0] == 200:
            assert time.monotonic() < deadline
        for _ in range(10):
            status, document = get("/health/ready")
            assert (status, document["status"], document["database"]) == (503, "draining", "ok")
            assert get("/api/v1/posts")[0] == 200
            assert get("/health") == (200, {"status": "healthy"})


def test_without_a_wait_the_stop_begins_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, DRAIN_SECONDS="0") as server:
        assert server.ask(request(GET, "Connection: close")).status == 200
        began = time.monotonic()
        assert server.process.stop(signal.SIGTERM, timeout_seconds=15) == 0
        assert time.monotonic() - began < 5
        assert "draining" not in server.process.log_text()
