"""What nginx refuses by itself looks as if the application had said it."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

from app.api.errors import PROBLEMS
from app.api.middleware.headers import SECURITY_HEADERS
from tests.stack.conftest import Front, Stack
from tests.stack.wire import ORIGIN, Answer, Application, Seen, call, send
from tests.support.services import LOOPBACK, free_port
from tests.support.services.nginx import NginxServer

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = (ROOT / "nginx.conf").read_text()
START = (ROOT / "ops" / "nginx" / "start.sh").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
MIB = 1 << 20
HEAD = f"Host: localhost\r\nOrigin: {ORIGIN}\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def nginx(lasting_front: Front) -> NginxServer:
    """An nginx whose application is not there."""
    return lasting_front(f"{LOOPBACK}:{free_port()}", env={"NGINX_RATE": "10000r/s", "NGINX_BURST": "1000"})


def check(answer: Answer, status: int, code: str, prefix: str = "") -> None:
    """Hold a refusal to the contract: the document, and the headers of every answer."""
    kind = PROBLEMS[code]
    assert answer.status == status == kind.status
    assert answer.only("Content-Type") == "application/problem+json"
    assert answer.json() == {
        "type": f"{prefix}/problems/{code.replace('_', '-')}",
        "title": kind.title,
        "status": status,
        "code": code,
        "detail": kind.detail,
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
# These are over before nginx has read an Origin.
UNREADABLE = {
    "no HTTP": ("garbage\r\n\r\n", 400, "malformed_request"),
    "a bad escape": (f"GET /%zz HTTP/1.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "HTTP of the future": (f"GET / HTTP/3.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "no host": ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "malformed_request"),
    "a tunnel": (f"CONNECT example.com:443 HTTP/1.1\r\n{HEAD}\r\n", 400, "malformed_request"),
    "a request line without end": (f"GET /{'a' * 40_000} HTTP/1.1\r\n{HEAD}\r\n", 414, "uri_too_long"),
}


@pytest.mark.parametrize(("request_text", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_problem_that_allowed_origins_may_read(
    nginx: NginxServer, request_text: str, status: int, code: str
) -> None:
    answer = send(nginx.port, request_text.encode())
    check(answer, status, code)
    assert answer.only("Access-Control-Allow-Origin") == ORIGIN
    assert answer.only("Access-Control-Allow-Credentials") == "true"


@pytest.mark.parametrize(("request_text", "status", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_request_is_told_so_all_the_same(
    nginx: NginxServer, request_text: str, status: int, code: str
) -> None:
    check(send(nginx.port, request_text.encode()), status, code)


def test_an_application_that_does_not_answer_in_time(front: Front) -> None:
    def never(seen: Seen) -> None:
        time.sleep(5)

    with Application(never) as application:
        nginx = front(application.address, env={"NGINX_APP_TIMEOUT": "1s"})
        answer = call(nginx.port, "POST", "/api/v1/posts", payload={}, headers={"Origin": ORIGIN})
        check(answer, 504, "gateway_timeout")
        assert answer.only("Retry-After") == "1"
        assert answer.only("Access-Control-Allow-Origin") == ORIGIN
        assert len(application.seen) == 1


class TestFlood:
    @pytest.fixture
    def narrow(self, front: Front, application: Application) -> NginxServer:
        """An nginx that lets one address have three requests at once, and then one a minute."""
        return front(application.address, env={"NGINX_RATE": "1r/m", "NGINX_BURST": "2", "NGINX_CONNECTIONS": "2"})

    def test_an_address_that_asks_too_often(self, narrow: NginxServer) -> None:
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

    def test_probes_are_answered_all_the_same(self, narrow: NginxServer) -> None:
        assert [call(narrow.port, "GET", "/health").status for _ in range(6)] == [200] * 6

    def test_an_address_with_too_many_requests_under_way(self, front: Front) -> None:
        with Application(lambda seen: time.sleep(3)) as application:
            narrow = front(application.address, env={"NGINX_CONNECTIONS": "2"})
            waiting = [socket.create_connection((LOOPBACK, narrow.port)) for _ in range(2)]
            for connection in waiting:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while len(application.seen) < 2:
                time.sleep(0.01)
            check(call(narrow.port, "GET", "/"), 429, "rate_limited")
            for connection in waiting:
                connection.close()


@pytest.mark.parametrize("origin", ["https://app.example.com", "http://localhost:5173"])
def test_the_application_gives_an_allowed_origin_the_same_headers(stack: Stack, origin: str) -> None:
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
def test_every_origin_of_the_list_may_read_a_refusal(nginx: NginxServer, origin: str) -> None:
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
def test_no_other_origin_may_read_a_refusal(nginx: NginxServer, origin: str) -> None:
    answer = call(nginx.port, "GET", "/metrics", headers={"Origin": origin})
    assert answer.headers.get_all("Access-Control-Allow-Origin") is None
    assert answer.headers.get_all("Access-Control-Expose-Headers") is None


def test_a_default_port_in_the_setting_is_left_out_as_browsers_do(front: Front) -> None:
    nginx = front(f"{LOOPBACK}:{free_port()}", env={"CORS_ORIGINS": "https://a.example:443,http://b.example:80"})
    for origin, allowed in {"https://a.example": 1, "http://b.example": 1, "https://a.example:443": 0}.items():
        answer = call(nginx.port, "GET", "/", headers={"Origin": origin})
        assert len(answer.headers.get_all("Access-Control-Allow-Origin", [])) == allowed


def test_no_origin_is_allowed_where_none_is_set(front: Front) -> None:
    nginx = front(f"{LOOPBACK}:{free_port()}", env={"CORS_ORIGINS": ""})
    for origin in ("", ORIGIN, ","):
        answer = call(nginx.port, "GET", "/", headers={"Origin": origin})
        assert answer.headers.get_all("Access-Control-Allow-Origin") is None


def test_the_length_of_a_refused_body_is_the_one_set(front: Front, application: Application) -> None:
    nginx = front(application.address, env={"MAX_BODY_BYTES": "1000"})
    assert call(nginx.port, "POST", "/", body=b"x" * 1000).status == 200
    check(call(nginx.port, "POST", "/", body=b"x" * 1001), 413, "payload_too_large")


def test_one_address_has_room_for_a_sixth_of_all_bodies() -> None:
    defaults = dict(re.findall(r'"\$\{(NGINX_CONNECTIONS|MAX_BODY_BYTES):=(\d+)\}"', START))
    room = re.search(r'tmpfs: \["/tmp:size=(\d+)m", "/var/cache/gatepost:', COMPOSE)
    assert room is not None
    assert int(defaults["NGINX_CONNECTIONS"]) * int(defaults["MAX_BODY_BYTES"]) <= int(room[1]) * MIB / 6


TEXTS = re.findall(r"^        ([a-z-]+) '(\"title\".*)';$", CONFIGURATION, re.MULTILINE)


@pytest.mark.parametrize(("slug", "members"), TEXTS)
def test_the_words_are_those_of_the_one_table(slug: str, members: str) -> None:
    members = members.replace("\\'", "'")
    code = slug.replace("-", "_")
    kind = PROBLEMS[code]
    assert members == f'"title":"{kind.title}","code":"{code}","detail":"{kind.detail}"'
    assert re.search(rf"^        ({kind.status}|default) {slug};$", CONFIGURATION, re.MULTILINE)


def test_a_refusal_of_head_has_no_body(nginx: NginxServer) -> None:
    answer = call(nginx.port, "HEAD", "/metrics")
    assert (answer.status, answer.body) == (404, b"")


def test_the_page_of_refusals_is_nobody_s_to_ask_for(nginx: NginxServer) -> None:
    check(call(nginx.port, "GET", "/.problem"), 404, "not_found")
