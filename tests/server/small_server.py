"""A small application under gunicorn with the project's own configuration, and its bytes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.api.middleware.headers import SECURITY_HEADERS
from tests.support.services import LOOPBACK, free_port
from tests.support.services.process import ServerProcess, bare_environment

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "https://app.example.test"
SECRET = "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge"
STALL_SECONDS = 1.0

APPLICATION = """
import os
import time
from app.drain import is_draining
from app.observability.metrics import render
from werkzeug.wrappers import Request, Response

BIG = b"x" * 50_000_000


class Abandoned(BaseException):
    pass


def half():
    yield b"the first half"
    raise ValueError("There is no second half.")

@Request.application
def app(request):
    request.max_content_length = 1 << 20
    if request.path == "/body":
        return Response(str(len(request.get_data())))
    if request.path == "/sleep":
        time.sleep(float(request.args.get("seconds", 1)))
    if request.path in ("/health/ready", "/example/api/v1/auth/login"):
        time.sleep(float(request.headers.get("X-Seconds", 0)))
    if request.path == "/draining":
        return Response(f"{os.getpid()} {is_draining()}")
    if request.path == "/metrics":
        return Response(render())
    if request.path == "/big":
        return Response(BIG)
    if request.path == "/environ":
        return Response(repr({k: v for k, v in request.environ.items() if isinstance(v, str)}))
    if request.path == "/half":
        return Response(half())
    if request.path == "/abandon":
        raise Abandoned
    if request.path == "/fail":
        raise ValueError("the secret is in /etc/passwd")
    return Response("ok")
"""
CHUNKED = "Transfer-Encoding: chunked"
POST = "POST /body HTTP/1.1"
GET = "GET / HTTP/1.1"


@dataclass(frozen=True)
class Answer:
    """One HTTP response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


def read_answer(raw: bytes) -> tuple[Answer, bytes]:
    """Split the first response off `raw`; what follows it comes back as it is."""
    head, rest = raw.split(b"\r\n\r\n", 1)
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(headers) == len(lines), f"a header came twice: {lines}"
    length = int(headers["content-length"])
    assert len(rest) >= length, "the body is cut"
    return Answer(int(status_line.split()[1]), headers, rest[:length]), rest[length:]


class Server:
    """gunicorn with the project's gunicorn.conf.py and a small application.

    `changes` are lines of Python for the end of the configuration, where a test can't wait.
    """

    def __init__(self, folder: Path, changes: str = "", **env: str) -> None:
        self.port = free_port()
        workers = int(env.setdefault("WEB_CONCURRENCY", "1"))
        (folder / "small.py").write_text(APPLICATION)
        config = folder / "gunicorn.conf.py"
        config.write_text(
            f"import runpy\nglobals().update(runpy.run_path({str(ROOT / 'gunicorn.conf.py')!r}))\n"
            "from app.server import Connection, ProblemWorker\n"
            "from app.wire import DeadlineUnreader\n" + textwrap.dedent(changes)
        )
        self.process = ServerProcess("gunicorn", folder / "log", signal.SIGTERM)
        self.process.start(
            [sys.executable, "-m", "gunicorn", "-c", config, "--pythonpath", folder, "small:app"],
            lambda: self.process.log_text().count("Booting worker") >= workers and self.is_up(),
            timeout_seconds=30,
            cwd=ROOT,
            env={
                **bare_environment(),
                "APP_ENV": "testing",
                "JWT_SECRET_KEY": SECRET,
                "CORS_ORIGINS": ORIGIN,
                "BIND": f"{LOOPBACK}:{self.port}",
                "WEB_THREADS": "2",
                **env,
            },
        )

    def is_up(self) -> bool:
        try:
            return self.ask(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").status == 200
        except OSError:
            return False

    def connect(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=20)

    def ask(self, data: bytes, *, half_close: bool = False) -> Answer:
        """Return the one answer that comes to `data` before the server closes the connection."""
        with self.connect() as client:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            answer, rest = read_answer(read_to_end(client))
        assert rest == b""
        return answer

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in self.process.log_text():
            assert time.monotonic() < deadline, self.process.log_tail()
            time.sleep(0.02)


def receive(client: socket.socket) -> Answer:
    """Return the next answer on a connection that may stay open; `client` has sent one request."""
    raw = b""
    while True:
        part = client.recv(65_536)
        assert part, f"closed after {raw!r}"
        raw += part
        head, separator, rest = raw.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if separator and length and len(rest) >= int(length[1]):
            answer, rest = read_answer(raw)
            assert rest == b""
            return answer


def read_to_end(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def serving(folder: Path, changes: str = "", **env: str) -> Iterator[Server]:
    server = Server(folder, changes, **env)
    try:
        yield server
        if server.process.is_running:
            # The quick way, which waits for no connection and yet leaves nothing behind.
            server.process.stop(signal.SIGINT, timeout_seconds=20)
    finally:
        server.process.kill()


def wait_until(is_so: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def request(line: str = "POST /body HTTP/1.1", *headers: str, body: str = "", host: str = "h") -> bytes:
    return "\r\n".join([line, f"Host: {host}", *headers, "", body]).encode("latin-1")


def assert_refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is the contract's problem and nothing else, and return its document."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    document = answer.problem()
    assert set(document) == {"type", "title", "status", "code", "detail", "request_id"}
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"/problems/{code.replace('_', '-')}"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["connection"] == "close"
    assert answer.headers["cache-control"] == "no-store"
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name.lower()] == value
    assert answer.headers["server"] == "gatepost"
    assert "date" in answer.headers
    return document
