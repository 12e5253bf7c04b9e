"""Connections: kept, pipelined, slow and broken ones; none holds up the others."""

from __future__ import annotations

import contextlib

import pytest

from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API
from tests.servers.conftest import Author, ensure_running
from tests.servers.wire import Connection, bearer, connections_to_workers, is_up, json_request, request

GET = request("GET /health HTTP/1.1")
# Fewer than the threads of one worker, so that no choice of the kernel can fill a worker with them.
SLOW_CLIENTS = 3


def test_a_connection_is_kept_for_many_requests(author: Author) -> None:
    login = json_request("POST", f"{API}/auth/login", {})
    with Connection(author.server) as connection:
        for _ in range(10):
            assert connection.ask(GET).status == 200
            assert connection.ask(login).status == 422
            assert connection.ask(request("GET /nowhere HTTP/1.1")).status == 404
            assert connection.ask(request(f"GET {API}/auth/me HTTP/1.1", bearer(author.token))).status == 200


def test_a_body_that_no_route_reads_does_not_reach_the_next_request(server: GatepostServer) -> None:
    hidden = request("GET /nowhere HTTP/1.1")
    with Connection(server) as connection:
        for line in ("GET /health HTTP/1.1", "DELETE /health HTTP/1.1", "POST /nowhere HTTP/1.1"):
            first = connection.ask(request(line, f"Content-Length: {len(hidden)}", body=hidden))
            assert first.status in (200, 404, 405, 415, 422)
            if first.headers.get("connection") == "close":
                break
            assert connection.ask(GET).status == 200


def test_pipelined_requests_are_answered_in_order(author: Author) -> None:
    posts = [
        json_request("POST", f"{API}/posts", {"title": f"Number {number}", "content": "Text."}, bearer(author.token))
        for number in range(5)
    ]
    with Connection(author.server) as connection:
        connection.send(GET + b"".join(posts) + request("GET /nowhere HTTP/1.1", "Connection: close"))
        answers = []
        while (answer := connection.receive()) is not None:
            answers.append(answer)
    assert [answer.status for answer in answers] == [200, *[201] * 5, 404]
    assert [answer.json["title"] for answer in answers[1:6]] == [f"Number {number}" for number in range(5)]


@pytest.mark.parametrize("line", ["GET /health HTTP/1.0", "GET /health HTTP/1.1"])
def test_a_client_that_wants_no_more_sees_the_connection_closed(server: GatepostServer, line: str) -> None:
    with Connection(server) as connection:
        assert connection.ask(request(line, "Connection: close")).status == 200
        assert connection.is_closed_by_server()


def test_idle_connections_do_not_stop_others(server: GatepostServer) -> None:
    """gunicorn gives each connection that has sent nothing yet a thread for 5 s; one that was used holds none."""
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            assert stack.enter_context(Connection(server)).ask(GET).status == 200
        for _ in range(SLOW_CLIENTS):
            stack.enter_context(Connection(server))
        assert all(is_up(server) for _ in range(10))


def test_slow_clients_do_not_stop_others(author: Author) -> None:
    data = json_request("POST", f"{API}/posts", {"title": "Slow", "content": "Byte by byte."}, bearer(author.token))
    end = data.index(b"\r\n\r\n") + 4
    before = author.count_posts()
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(author.server)) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.send(data[:end])
        for at in range(end, len(data)):
            for connection in slow:
                connection.send(data[at : at + 1])
            if at % 10 == 0:
                assert is_up(author.server)
        answers = [connection.receive() for connection in slow]
    assert [answer and answer.status for answer in answers] == [201] * SLOW_CLIENTS
    assert author.count_posts() == before + SLOW_CLIENTS


def test_clients_with_half_a_head_do_not_stop_others(server: GatepostServer) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(server)) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.send(b"GET /health HTTP/1.1\r\nHo")
        assert all(is_up(server) for _ in range(10))
        for connection in slow:
            connection.send(b"st: gatepost.test\r\n\r\n")
            answer = connection.receive()
            assert answer is not None
            assert answer.status == 200


@pytest.fixture(scope="session")
def large_answer(shared_author: Author) -> bytes:
    """A request whose answer, 1 MB, is more than the buffers between server and client hold."""
    headers = bearer(shared_author.token)
    with Connection(ensure_running(shared_author.server)) as connection:
        for number in range(20):
            post = {"title": f"Large {number}", "content": "x" * 50_000}
            assert connection.ask(json_request("POST", f"{API}/posts", post, headers)).status == 201
    return request(f"GET {API}/users/{shared_author.member.id}/export HTTP/1.1", headers)


def test_a_client_that_reads_slowly_gets_everything(server: GatepostServer, large_answer: bytes) -> None:
    with Connection(server) as connection:
        connection.send(large_answer)
        assert all(is_up(server) for _ in range(5))
        answer = connection.receive()
    assert answer is not None
    assert answer.status == 200
    assert len(answer.body) > 1_000_000


@pytest.mark.parametrize("read", [0, 1, 1000])
def test_clients_that_disconnect_in_the_midst_of_an_answer_harm_no_worker(
    server: GatepostServer, large_answer: bytes, read: int
) -> None:
    pids = set(server.worker_pids())
    for _ in range(2):
        with connections_to_workers(server) as connections:
            for connection in connections:
                connection.send(large_answer)
                assert len(connection.receive_some(read)) == read
                connection.reset()
    with connections_to_workers(server) as connections:
        assert all(connection.ask(GET).status == 200 for connection in connections)
    assert set(server.worker_pids()) == pids
