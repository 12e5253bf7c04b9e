"""More requests than can be served: some wait a little, others are told at once, probes don't notice."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import create_app
from app.lanes import HASHING
from tests.conftest import settings_for
from tests.server.small_server import (
    CHUNKED,
    GET,
    ORIGIN,
    POST,
    Answer,
    Server,
    read_answer,
    read_to_end,
    receive,
    request,
    serving,
)

CLOSE = "Connection: close"
AT_ONCE = 0.5
SHED = "gatepost_requests_shed_total"


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two threads, room for two more requests, and time enough for these."""
    folder = tmp_path_factory.mktemp("overload")
    with serving(folder, MAX_QUEUED_REQUESTS="2", MAX_QUEUE_MS="20000", SERVICE_PREFIX="/example") as started:
        yield started


@contextlib.contextmanager
def busy(server: Server, waiting: int, seconds: int = 1) -> Iterator[list[socket.socket]]:
    """Hold both threads, and let `waiting` requests wait, for so many seconds each; all are served in the end."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(2 + waiting)]
        # A thread counts as free once the main loop has heard of its last answer.
        time.sleep(0.1)
        for client in clients:
            client.sendall(request(f"GET /sleep?seconds={seconds} HTTP/1.1", CLOSE))
        time.sleep(0.3)
        yield clients
        assert [read_answer(read_to_end(client))[0].status for client in clients] == [200] * len(clients)


def timed(server: Server, data: bytes) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = server.ask(data)
    return answer, time.monotonic() - began


def shed_so_far(server: Server) -> float:
    found = re.search(
        rf"^{SHED} (\S+)$", server.ask(request("GET /metrics HTTP/1.1", CLOSE)).body.decode(), re.MULTILINE
    )
    assert found
    return float(found[1])


def assert_overloaded(answer: Answer, connection: str) -> None:
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["connection"] == connection
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    if answer.body:
        document = answer.problem()
        assert (document["code"], document["type"]) == ("overloaded", "/example/problems/overloaded")
        assert document["request_id"] == answer.headers["x-request-id"]


def test_request_beyond_the_queue_is_refused_at_once_and_its_connection_kept(small_queue: Server) -> None:
    shed_before = shed_so_far(small_queue)
    with small_queue.connect() as client:
        with busy(small_queue, waiting=2):
            began = time.monotonic()
            for request_id in ("first", "second", "third"):
                client.sendall(request(GET, f"Origin: {ORIGIN}", f"X-Request-ID: {request_id}"))
                answer = receive(client)
                assert_overloaded(answer, "keep-alive")
                assert answer.problem()["request_id"] == request_id
                assert answer.headers["access-control-allow-origin"] == ORIGIN
                assert "Retry-After" in answer.headers["access-control-expose-headers"].split(", ")
            assert time.monotonic() - began < AT_ONCE
        client.sendall(request(GET))
        assert receive(client).status == 200
    assert shed_so_far(small_queue) == shed_before + 3


def test_kept_connection_with_a_body_stays_in_step(small_queue: Server) -> None:
    with small_queue.connect() as client:
        with busy(small_queue, waiting=2):
            client.sendall(request(POST, "Content-Length: 5", body="12345"))
            assert_overloaded(receive(client), "keep-alive")
        client.sendall(request(POST, "Content-Length: 3", body="abc"))
        assert receive(client).body == b"3"


CLOSING = [
    request(GET, CLOSE),
    request("GET / HTTP/1.0"),
    # Another request behind it, a body that is long in coming, one whose end only its reader finds.
    request(GET) + request(GET),
    request(POST, "Content-Length: 70000", body="123"),
    request(POST, CHUNKED, body="3\r\nabc\r\n0\r\n\r\n"),
]


def test_connection_is_closed_where_the_next_request_is_unsure(small_queue: Server) -> None:
    with busy(small_queue, waiting=2):
        for data in CLOSING:
            answer, seconds = timed(small_queue, data)
            assert_overloaded(answer, "close")
            assert seconds < AT_ONCE


@pytest.mark.parametrize(
    "parts", [("GET / HTTP/1.1\r\nHo", "st: h\r\n\r\n"), (request(POST, "Content-Length: 5").decode(), "12345")]
)
def test_request_in_parts_is_refused_when_it_is_whole(small_queue: Server, parts: tuple[str, str]) -> None:
    with busy(small_queue, waiting=2), small_queue.connect() as client:
        client.sendall(parts[0].encode())
        time.sleep(0.1)
        client.sendall(parts[1].encode())
        began = time.monotonic()
        assert_overloaded(receive(client), "keep-alive")
        assert time.monotonic() - began < AT_ONCE


def test_refusal_of_head_has_no_body(small_queue: Server) -> None:
    with busy(small_queue, waiting=2), small_queue.connect() as client:
        client.sendall(request("HEAD / HTTP/1.1", CLOSE))
        head, body = read_to_end(client).split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert body == b""


def test_malformed_request_is_told_so_also_now(small_queue: Server) -> None:
    with busy(small_queue, waiting=2):
        assert small_queue.ask(request(GET, "Bad")).status == 400


def test_client_that_leaves_is_not_counted(small_queue: Server) -> None:
    shed_before = shed_so_far(small_queue)
    with small_queue.connect() as idle:
        idle.sendall(request(GET))
        assert receive(idle).status == 200
        with busy(small_queue, waiting=2):
            idle.close()
            time.sleep(0.2)
    assert shed_so_far(small_queue) == shed_before


def test_head_in_parts_waits_for_its_rest(small_queue: Server) -> None:
    with small_queue.connect() as client, busy(small_queue, waiting=1):
        client.sendall(b"GET / HTTP/1.1\r\nHo")
        time.sleep(0.2)
        client.sendall(b"st: h\r\nConnection: close\r\n\r\n")
        assert read_answer(read_to_end(client))[0].status == 200


def test_probes_are_answered_as_ever(small_queue: Server) -> None:
    with busy(small_queue, waiting=2):
        for prefix in ("", "/example"):
            for path in ("/health", "/health/ready", "/metrics"):
                answer, seconds = timed(small_queue, request(f"GET {prefix}{path} HTTP/1.1", CLOSE))
                assert answer.status == 200
                assert seconds < AT_ONCE / 2


def test_probes_that_wait_for_the_database_do_not_hold_up_health(small_queue: Server) -> None:
    with busy(small_queue, waiting=2), contextlib.ExitStack() as stack:
        for _ in range(2):
            ready = stack.enter_context(small_queue.connect())
            ready.sendall(request("GET /health/ready HTTP/1.1", "X-Seconds: 1", CLOSE))
        time.sleep(0.1)
        answer, seconds = timed(small_queue, request("GET /health HTTP/1.1", CLOSE))
        assert answer.status == 200
        assert seconds < AT_ONCE


def test_stalled_body_cannot_hold_the_thread_of_health(small_queue: Server) -> None:
    with busy(small_queue, waiting=0), contextlib.ExitStack() as stack:
        for headers in (["Content-Length: 9"], ["content-length : 9"], [CHUNKED]):
            slow = stack.enter_context(small_queue.connect())
            slow.sendall(request("GET /health HTTP/1.1", *headers))
        time.sleep(0.1)
        answer, seconds = timed(small_queue, request("GET /health HTTP/1.1", CLOSE))
        assert answer.status == 200
        assert seconds < AT_ONCE


def test_request_that_has_waited_too_long_is_refused_before_a_thread_is_free(tmp_path: Path) -> None:
    with serving(tmp_path, MAX_QUEUE_MS="300", SERVICE_PREFIX="/example") as server, busy(server, waiting=0, seconds=2):
        with server.connect() as client:
            for _ in range(2):
                began = time.monotonic()
                client.sendall(request(GET))
                assert_overloaded(receive(client), "keep-alive")
                assert 0.25 < time.monotonic() - began < 0.3 + AT_ONCE
        server.wait_for_log("overloaded")


def test_flood_is_answered_whole_and_probes_with_it(tmp_path: Path) -> None:
    """100 clients ask without a pause what takes 20 ms of a thread: ten times what two threads can do."""
    answers: Counter[int | str] = Counter()
    finished = threading.Event()

    def ask_again_and_again(server: Server) -> None:
        with server.connect() as client:
            while not finished.is_set():
                client.sendall(request("GET /sleep?seconds=0.02 HTTP/1.1"))
                answer = receive(client)
                answers[answer.status] += 1
                # As polite as Retry-After asks for would be no flood.
                time.sleep(0.05 if answer.status == 503 else 0)

    with serving(tmp_path, MAX_QUEUED_REQUESTS="8") as server:
        threads = [threading.Thread(target=ask_again_and_again, args=(server,)) for _ in range(100)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        probes = []
        for _ in range(20):
            answer, seconds = timed(server, request("GET /health HTTP/1.1", CLOSE))
            assert answer.status == 200
            probes.append(seconds)
            time.sleep(0.05)
        finished.set()
        for thread in threads:
            thread.join()
        total = answers[200] + answers[503]
        assert (shed_so_far(server), set(answers)) == (answers[503], {200, 503})
        assert answers[200] > 50
        assert total > 2 * answers[200]
        assert sorted(probes)[len(probes) // 2] < 0.1
        assert "Traceback" not in server.process.log_text()


LOGIN = "POST /example/api/v1/auth/login HTTP/1.1"


def send_login(client: socket.socket, seconds: float, body: bytes = b"{}") -> None:
    """Send what hashes a password for so long."""
    client.sendall(request(LOGIN, f"X-Seconds: {seconds}", f"Content-Length: {len(body)}", CLOSE) + body)


def test_passwords_are_hashed_one_after_the_other_and_nobody_else_waits(small_queue: Server) -> None:
    """Two threads, of which logins hold none."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(small_queue.connect()) for _ in range(3)]
        began = time.monotonic()
        for client in clients:
            send_login(client, 0.4)
            time.sleep(0.02)
        for _ in range(3):
            answer, seconds = timed(small_queue, request(GET, CLOSE))
            assert answer.status == 200
            assert seconds < 0.3
        assert [read_answer(read_to_end(client))[0].status for client in clients] == [200] * 3
        assert time.monotonic() - began > 3 * 0.4


def test_what_has_the_hashing_thread_is_what_the_application_serves(tmp_path: Path) -> None:
    app = create_app(settings_for(f"sqlite:///{tmp_path / 'gatepost.db'}"))
    posts = {str(rule) for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    assert set(HASHING) <= posts


def test_logins_have_a_queue_of_their_own(small_queue: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(small_queue.connect()) for _ in range(5)]
        for client in clients:
            send_login(client, 0.3)
            time.sleep(0.05)
        statuses = Counter(read_answer(read_to_end(client))[0].status for client in clients)
        # One is hashed, two wait.
        assert statuses == {200: 3, 503: 2}


def test_login_that_is_not_all_here_holds_up_no_other(small_queue: Server) -> None:
    with contextlib.ExitStack() as stack:
        for headers in (["Content-Length: 9"], [CHUNKED]):
            slow = stack.enter_context(small_queue.connect())
            slow.sendall(request(LOGIN, *headers))
        time.sleep(0.1)
        client = stack.enter_context(small_queue.connect())
        began = time.monotonic()
        send_login(client, 0)
        assert read_answer(read_to_end(client))[0].status == 200
        assert time.monotonic() - began < AT_ONCE


def test_in_a_storm_what_is_accepted_has_not_waited_long(tmp_path: Path) -> None:
    """60 clients, two threads, 50 ms each: in the whole queue of 40 a request would wait for a second."""
    waits: list[tuple[float, float]] = []
    began = time.monotonic()
    finished = threading.Event()

    def ask_again_and_again(server: Server) -> None:
        with server.connect() as client:
            while not finished.is_set():
                sent = time.monotonic()
                client.sendall(request("GET /sleep?seconds=0.05 HTTP/1.1"))
                if receive(client).status == 200:
                    waits.append((sent - began, time.monotonic() - sent))
                else:
                    time.sleep(0.02)

    with serving(tmp_path, MAX_QUEUED_REQUESTS="40") as server:
        began = time.monotonic()
        threads = [threading.Thread(target=ask_again_and_again, args=(server,)) for _ in range(60)]
        for thread in threads:
            thread.start()
        time.sleep(3)
        finished.set()
        for thread in threads:
            thread.join()
        in_storm = sorted(wait for at, wait in waits if at > 1)
        assert len(in_storm) > 20
        assert in_storm[len(in_storm) // 2] < 0.5
        # It is over: a burst may wait again, all of it.
        time.sleep(1.2)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(30)]
            for client in clients:
                client.sendall(request("GET /sleep?seconds=0.01 HTTP/1.1", CLOSE))
            assert {read_answer(read_to_end(client))[0].status for client in clients} == {200}
