"""The errors that nginx sends itself have the same form as those of the application."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.api.errors import PROBLEMS, Problem
from app.api.middleware.headers import SECURITY_HEADERS
from gatepost.testing.services import LOOPBACK, free_port
from tests.stack.conftest import Front, Stack
from tests.stack.wire import ORIGIN, PATIENCE_SECONDS, Answer, Application, Seen, call, eventually, plain, send
from tests.support.services.nginx import NginxServer

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = (ROOT / "nginx.conf").read_text()
START = (ROOT / "ops" / "nginx" / "start.sh").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
MIB = 1 << 20
HEAD = f"Host: localhost\r\nOrigin: {ORIGIN}\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def nginx(lasting_front: Front) -> NginxServer:
    """An nginx whose application cannot be reached."""
    return lasting_front(f"{LOOPBACK}:{free_port()}", env={"NGINX_RATE": "10000r/s", "NGINX_BURST": "1000"})


def nginx_detail(problem: type[Problem]) -> str:
    """Return the `detail` of a problem that nginx sends: its Retry-After is always 1 second."""
    return problem.default_detail(1 if problem.retry_after_seconds else None)


def check(answer: Answer, status: int, code: str, prefix: str = "") -> None:
    """Check the problem document, and the headers that every response has."""
    problem = PROBLEMS[code]
    assert answer.status == status == problem.status
    assert answer.only("Content-Type") == "application/problem+json"
    assert answer.json() == {
        "type": f"{prefix}/problems/{code.replace('_', '-')}",
        "title": problem.title,
        "status": status,
        "code": code,
        "detail": nginx_detail(problem),
        "request_id": answer.only("X-Request-ID"),
    }
    for name, value in SECURITY_HEADERS.items():
        assert answer.only(name) == value
    assert answer.only("Cache-Control") == "no-store"
    assert answer.only("Vary") == "Origin"
    assert answer.only("Server") == "nginx"


REFUSED = {
    "a body over the limit": (f"POST / HTTP/1.1\r\n{HEAD}Content-Length: {MIB + 1}\r\n\r\n", 413, "payload_too_large"),
    "a chunked body over it": (
        f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n{MIB + 1:x}\r\n{'x' * (MIB + 1)}\r\n0\r\n\r\n",
        413,
        "payload_too_large",
    ),
    "a long path": (f"GET /{'a' * 9000} HTTP/1.1\r\n{HEAD}\r\n", 414, "uri_too_long"),
    "a long query": (f"GET /?q={'a' * 9000} HTTP/1.1\r\n{HEAD}\r\n", 414, "uri_too_long"),
    "a long header": (f"GET / HTTP/1.1\r\n{HEAD}X-Long: {'a' * 40_000}\r\n\r\n", 431, "headers_too_large"),
    "another transfer coding": (
        f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: gzip\r\n\r\n",
        400,
        "malformed_request",
    ),
    "two lengths": (
        f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        400,
        "malformed_request",
    ),
    "a method for proxies": (f"TRACE / HTTP/1.1\r\n{HEAD}\r\n", 405, "method_not_allowed"),
    "metrics": (f"GET /metrics HTTP/1.1\r\n{HEAD}\r\n", 404, "not_found"),
    "no application": (f"GET /health HTTP/1.1\r\n{HEAD}\r\n", 502, "bad_gateway"),
}
# nginx sends these errors before it has read the Origin header.
UNREADABLE = {
    "no HTTP": ("garbage\r\n\r\n", 400, "malformed_request"),
    "a bad escape": (f"GET /%zz HTTP/1.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "HTTP of the future": (f"GET / HTTP/3.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "no host": ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "malformed_request"),
    "a tunnel": (f"CONNECT example.com:443 HTTP/1.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "a request line without end": (f"GET /{'a' * 40_000} HTTP/1.1\r\n{HEAD}\r\n", 414, "uri_too_long"),
}


@pytest.mark.parametrize(("request_text", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_an_error_is_a_problem_that_allowed_origins_can_read(
    nginx: NginxServer, request_text: str, status: int, code: str
) -> None:
    answer = send(nginx.port, request_text.encode())
    check(answer, status, code)
    assert answer.only("Access-Control-Allow-Origin") == ORIGIN
    assert answer.only("Access-Control-Allow-Credentials") == "true"


@pytest.mark.parametrize(("request_text", "status", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_the_response_to_an_unreadable_request_is_a_problem_too(
    nginx: NginxServer, request_text: str, status: int, code: str
) -> None:
    check(send(nginx.port, request_text.encode()), status, code)


@pytest.fixture
def hanging() -> Iterator[Application]:
    """An application that responds only to probes until the test is over."""
    over = threading.Event()

    def wait(seen: Seen) -> bytes | None:
        return plain(seen) if seen.target == "/health" or over.wait(2 * PATIENCE_SECONDS) else None

    with Application(wait) as application:
        yield application
        over.set()


def test_an_application_that_does_not_respond_in_time(front: Front, hanging: Application) -> None:
    nginx = front(hanging.address, env={"NGINX_APP_TIMEOUT": "1s"})
    answer = call(nginx.port, "POST", "/api/v1/posts", payload={}, headers={"Origin": ORIGIN})
    check(answer, 504, "gateway_timeout")
    assert answer.only("Retry-After") == "1"
    assert answer.only("Access-Control-Allow-Origin") == ORIGIN
    assert len(hanging.seen) == 1


@contextmanager
def waiting_requests(nginx: NginxServer, count: int) -> Iterator[None]:
    """Send requests, and close their connections at the end of the block."""
    with ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(socket.create_connection((LOOPBACK, nginx.port)))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield


class TestOverload:
    """More concurrent requests than NGINX_APP_CONNECTIONS for each replica."""

    @pytest.fixture
    def nginx(self, front: Front, hanging: Application) -> Iterator[NginxServer]:
        """An nginx whose only replica has as many requests as allowed."""
        nginx = front(hanging.address, env={"NGINX_APP_CONNECTIONS": "2", "NGINX_APP_TIMEOUT": "60s"})
        with waiting_requests(nginx, 2):
            eventually(lambda: len(hanging.seen) == 2)
            yield nginx

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_further_request_is_refused(self, nginx: NginxServer, hanging: Application, method: str) -> None:
        answer = call(nginx.port, method, "/api/v1/posts", headers={"Origin": ORIGIN})
        check(answer, 503, "overloaded")
        assert answer.only("Retry-After") == "1"
        assert answer.only("Access-Control-Allow-Origin") == ORIGIN
        assert len(hanging.seen) == 2

    def test_a_probe_is_passed_on(self, nginx: NginxServer) -> None:
        assert call(nginx.port, "GET", "/health").status == 200

    def test_other_replicas_get_the_request(self, front: Front, hanging: Application, application: Application) -> None:
        nginx = front(hanging.address, application.address, env={"NGINX_APP_CONNECTIONS": "1"})
        with waiting_requests(nginx, 2):
            # The other replica may still have the second of these requests.
            eventually(lambda: bool(hanging.seen) and call(nginx.port, "POST", "/").status == 200)
            assert [call(nginx.port, "POST", "/").status for _ in range(5)] == [200] * 5
            assert len(hanging.seen) == 1

    def test_replicas_that_cannot_be_reached_are_not_overload(self, front: Front) -> None:
        addresses = [f"{LOOPBACK}:{free_port()}" for _ in range(2)]
        check(call(front(*addresses).port, "GET", "/"), 502, "bad_gateway")


class TestFlood:
    @pytest.fixture
    def narrow(self, front: Front, application: Application) -> NginxServer:
        """An nginx that accepts a burst of three requests of one address, and then one a minute."""
        return front(application.address, env={"NGINX_RATE": "1r/m", "NGINX_BURST": "2", "NGINX_CONNECTIONS": "2"})

    def test_an_address_with_too_many_requests(self, narrow: NginxServer) -> None:
        answers = [call(narrow.port, "GET", "/", headers={"Origin": ORIGIN}) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        check(answers[3], 429, "rate_limited")
        shown = {name: value for name, value in answers[3].headers.items() if name.startswith(("Retry", "X-Rate"))}
        assert shown == {
            "Retry-After": "1",
            "X-RateLimit-Limit": "2",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "1",
        }
        assert answers[3].only("Access-Control-Allow-Origin") == ORIGIN

    def test_probes_are_exempt(self, narrow: NginxServer) -> None:
        assert [call(narrow.port, "GET", "/health").status for _ in range(6)] == [200] * 6

    def test_an_address_with_too_many_concurrent_requests(self, front: Front, hanging: Application) -> None:
        narrow = front(hanging.address, env={"NGINX_CONNECTIONS": "2", "NGINX_APP_TIMEOUT": "60s"})
        with waiting_requests(narrow, 2):
            eventually(lambda: len(hanging.seen) == 2)
            check(call(narrow.port, "GET", "/"), 429, "rate_limited")


@pytest.mark.parametrize("origin", ["https://app.example.com", "http://localhost:5173"])
def test_nginx_and_the_application_send_the_same_headers_to_an_allowed_origin(stack: Stack, origin: str) -> None:
    asked = {"Origin": origin}
    own = call(stack.nginx.port, "GET", "/metrics", headers=asked)
    theirs = call(stack.nginx.port, "GET", "/nowhere", headers=asked)
    assert (own.status, theirs.status) == (404, 404)
    for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Cache-Control", *SECURITY_HEADERS):
        assert own.only(name) == theirs.only(name)
    exposed = [answer.only("Access-Control-Expose-Headers").split(", ") for answer in (own, theirs)]
    assert sorted(exposed[0]) == sorted(exposed[1])
    mine, other = (answer.json() | {"request_id": ""} for answer in (own, theirs))
    assert mine == other


@pytest.mark.parametrize("origin", ["https://app.example.com", "http://localhost:5173", "https://third.example"])
def test_every_origin_of_the_list_can_read_an_error(nginx: NginxServer, origin: str) -> None:
    answer = call(nginx.port, "GET", "/metrics", headers={"Origin": origin})
    assert answer.only("Access-Control-Allow-Origin") == origin


FOREIGN = [
    "https://app.example.com.evil.example",
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://APP.example.com",
    "null",
    "",
    ",",
    "https://app.example.com,http://localhost:5173",
    "http://localhost:5173, https://third.example",
    " https://third.example,",
    "x|,https://evil.example,|https://evil.example",
    "|https://app.example.com",
    "https://app.example.com|https://app.example.com",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_origin_can_read_an_error(nginx: NginxServer, origin: str) -> None:
    answer = call(nginx.port, "GET", "/metrics", headers={"Origin": origin})
    assert answer.headers.get_all("Access-Control-Allow-Origin") is None
    assert answer.headers.get_all("Access-Control-Expose-Headers") is None


def test_a_default_port_in_the_setting_is_ignored_because_browsers_omit_it(front: Front) -> None:
    nginx = front(f"{LOOPBACK}:{free_port()}", env={"CORS_ORIGINS": "https://a.example:443,http://b.example:80"})
    for origin, allowed in {"https://a.example": 1, "http://b.example": 1, "https://a.example:443": 0}.items():
        answer = call(nginx.port, "GET", "/", headers={"Origin": origin})
        assert len(answer.headers.get_all("Access-Control-Allow-Origin", [])) == allowed


def test_no_origin_is_allowed_if_none_is_configured(front: Front) -> None:
    nginx = front(f"{LOOPBACK}:{free_port()}", env={"CORS_ORIGINS": ""})
    for origin in ("", ORIGIN, ","):
        answer = call(nginx.port, "GET", "/", headers={"Origin": origin})
        assert answer.headers.get_all("Access-Control-Allow-Origin") is None


def test_the_maximum_body_length_can_be_configured(front: Front, application: Application) -> None:
    nginx = front(application.address, env={"MAX_BODY_BYTES": "1000"})
    assert call(nginx.port, "POST", "/", body=b"x" * 1000).status == 200
    check(call(nginx.port, "POST", "/", body=b"x" * 1001), 413, "payload_too_large")


def test_the_bodies_of_one_address_fill_at_most_two_fifths_of_their_space() -> None:
    defaults = dict(re.findall(r'"\$\{(NGINX_CONNECTIONS|MAX_BODY_BYTES):=(\d+)\}"', START))
    space = re.search(r'"/var/cache/gatepost-bodies:size=(\d+)m"', COMPOSE)
    assert space is not None
    assert int(defaults["NGINX_CONNECTIONS"]) * int(defaults["MAX_BODY_BYTES"]) <= int(space[1]) * MIB * 2 / 5


TEXTS = re.findall(r"^        ([a-z-]+) '(\"title\".*)';$", CONFIGURATION, re.MULTILINE)


@pytest.mark.parametrize(("slug", "members"), TEXTS)
def test_the_texts_are_those_of_the_application(slug: str, members: str) -> None:
    members = members.replace("\\'", "'")
    code = slug.replace("-", "_")
    problem = PROBLEMS[code]
    assert members == f'"title":"{problem.title}","code":"{code}","detail":"{nginx_detail(problem)}"'
    assert re.search(rf"^        ({problem.status}|default) {slug};$", CONFIGURATION, re.MULTILINE)


def test_an_error_in_response_to_head_has_no_body(nginx: NginxServer) -> None:
    answer = call(nginx.port, "HEAD", "/metrics")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("path", ["/.problem", "/.bad-gateway"])
def test_clients_cannot_request_the_locations_of_errors(nginx: NginxServer, path: str) -> None:
    check(call(nginx.port, "GET", path), 404, "not_found")
