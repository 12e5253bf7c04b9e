"""How nginx passes requests to the application, and responses to the client."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.middleware.queue_time import RETRY_FACTOR
from app.settings import load_settings
from gatepost.testing.services import LOOPBACK
from tests.stack.conftest import API, MAX_QUEUE_SECONDS, Front, Stack
from tests.stack.wire import ORIGIN, PATIENCE_SECONDS, Application, Seen, call, eventually, response, send
from tests.support.services.nginx import NginxServer

START = (Path(__file__).resolve().parents[2] / "ops" / "nginx" / "start.sh").read_text()
# The application's slowest response without a queue: a connection, and a statement that is ended.
DEADLINE_SECONDS = 2
# More than the socket buffers of the kernel can hold.
MANY_BYTES = b"[" + b"1," * 5_000_000 + b"1]"

INVALID_BALANCERS = [
    *(
        "balancer.internal",
        "10.0.0.0/33",
        "10.0.0.256",
        "10.0.0",
        "10.0.0.0/8/8",
        "10.0.0.0/",
        "/8",
        "unix:",
        "1.2.3.4;",
    ),
    *(
        "2001:db8::/129",
        "2001:db8",
        "1::2::3",
        ":1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "10.0.0.1 all",
        "::/x",
        "x:1:2:3:4:5:6:7",
    ),
]


@pytest.fixture
def nginx(front: Front, application: Application) -> NginxServer:
    """An nginx in front of the application of the test."""
    return front(application.address)


class TestForwarding:
    def test_the_client_cannot_forge_the_headers_of_nginx(self, nginx: NginxServer, application: Application) -> None:
        forged = {
            "X-Forwarded-For": "6.6.6.6",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Port": "443",
            "X-Forwarded-Prefix": "/evil",
            "X-Real-IP": "6.6.6.6",
            "Forwarded": "for=6.6.6.6",
            "Proxy": "http://evil.example",
            "X_Forwarded_For": "6.6.6.6",
        }
        call(nginx.port, "GET", "/", headers=forged)
        seen = application.seen[0]
        received = {name: seen.all(name) for name in forged}
        assert received.pop("X-Forwarded-For") == [LOOPBACK]
        assert received.pop("X-Forwarded-Proto") == ["http"]
        assert received.pop("X-Forwarded-Host") == seen.all("Host") == [f"{LOOPBACK}:{nginx.port}"]
        assert set(map(tuple, received.values())) == {()}

    def test_the_application_gets_the_time_of_the_request(self, nginx: NginxServer, application: Application) -> None:
        call(nginx.port, "GET", "/", headers={"X-Request-Start": "t=1.000"})
        (start,) = application.seen[0].all("X-Request-Start")
        assert re.fullmatch(r"t=[0-9]{10}\.[0-9]{3}", start)
        assert abs(time.time() - float(start.removeprefix("t="))) < PATIENCE_SECONDS

    def test_only_the_client_of_a_trusted_balancer_is_accepted(self, front: Front, application: Application) -> None:
        nginx = front(application.address, env={"NGINX_TRUSTED_BALANCER": f"{LOOPBACK}/32"})
        sent = {"X-Forwarded-For": f"6.6.6.6, 9.9.9.9, {LOOPBACK}", "X-Forwarded-Proto": "https"}
        call(nginx.port, "GET", "/", headers=sent)
        # Balancers appended the last two; their client sent the first.
        assert application.seen[0].all("X-Forwarded-For") == ["9.9.9.9"]
        assert application.seen[0].all("X-Forwarded-Proto") == ["https"]

    @pytest.mark.parametrize("separator", [" ", ",", " , "])
    def test_each_of_several_balancers_is_trusted(self, front: Front, application: Application, separator: str) -> None:
        networks = ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", f"{LOOPBACK}/32"]
        nginx = front(application.address, env={"NGINX_TRUSTED_BALANCER": separator.join(networks)})
        for balancer in ("10.1.2.3", "192.0.2.7", "2001:db8::5"):
            sent = {"X-Forwarded-For": f"6.6.6.6, 9.9.9.9, {balancer}", "X-Forwarded-Proto": "https"}
            call(nginx.port, "GET", "/", headers=sent)
        for stranger in ("10.2.0.1", "192.0.2.8", "2001:db9::5"):
            call(nginx.port, "GET", "/", headers={"X-Forwarded-For": f"9.9.9.9, {stranger}"})
        received = [seen.all("X-Forwarded-For") for seen in application.seen]
        assert received == [["9.9.9.9"]] * 3 + [["10.2.0.1"], ["192.0.2.8"], ["2001:db9::5"]]
        assert [seen.all("X-Forwarded-Proto") for seen in application.seen] == [["https"]] * 3 + [["http"]] * 3

    def test_without_a_balancer_none_is_trusted(self, front: Front, application: Application) -> None:
        for value in ("", " , "):
            nginx = front(application.address, env={"NGINX_TRUSTED_BALANCER": value})
            call(nginx.port, "GET", "/", headers={"X-Forwarded-For": "9.9.9.9"})
        assert [seen.all("X-Forwarded-For") for seen in application.seen] == [[LOOPBACK]] * 2

    @pytest.mark.parametrize("busybox", [False, True])
    def test_invalid_balancers_are_refused(self, front: Front, application: Application, busybox: bool) -> None:
        nginx = front(application.address, busybox=busybox)
        for value in INVALID_BALANCERS:
            result = nginx.run_script(env={"NGINX_TRUSTED_BALANCER": value})
            assert result.returncode == 1, value
            line = json.loads(result.stdout)
            assert (line["level"], line["event"]) == ("error", "settings refused")
            assert line["reason"].startswith("NGINX_TRUSTED_BALANCER: must be")

    @pytest.mark.parametrize("sent", ["abc", "A.b-c_9", "x" * 128])
    def test_a_valid_request_id_is_kept(self, nginx: NginxServer, application: Application, sent: str) -> None:
        call(nginx.port, "GET", "/", headers={"X-Request-ID": sent})
        assert application.seen[0].all("X-Request-ID") == [sent]
        assert call(nginx.port, "GET", "/metrics", headers={"X-Request-ID": sent}).only("X-Request-ID") == sent
        eventually(lambda: nginx.log_text().count(f'"request_id":"{sent}"') == 2)

    @pytest.mark.parametrize("sent", [None, "", "x" * 129, "a b", 'a"b', "a,b", "é", "a/b"])
    def test_an_invalid_request_id_is_replaced(
        self, nginx: NginxServer, application: Application, sent: str | None
    ) -> None:
        call(nginx.port, "GET", "/", headers={} if sent is None else {"X-Request-ID": sent})
        made = application.seen[0].all("X-Request-ID")
        assert len(made) == 1
        assert len(made[0]) == 32
        assert made[0].isalnum()

    def test_the_path_is_passed_on_unchanged(self, nginx: NginxServer, application: Application) -> None:
        target = "/a%2Fb//c/%C3%A9;x=1/.?q=a%20b&q=+c&empty="
        call(nginx.port, "GET", target)
        assert application.seen[0].target == target

    def test_nginx_does_not_connect_to_another_host(self, nginx: NginxServer, application: Application) -> None:
        with Application() as other:
            request = f"GET http://{other.address}/x HTTP/1.1\r\nHost: {other.address}\r\nConnection: close\r\n\r\n"
            assert send(nginx.port, request.encode()).status == 200
            assert other.connections == 0
        assert [seen.target for seen in application.seen] == ["/x"]

    def test_connections_to_the_application_are_kept(self, nginx: NginxServer, application: Application) -> None:
        for _ in range(30):
            assert call(nginx.port, "GET", "/").status == 200
        # Each of nginx's two workers keeps one.
        assert application.connections <= 2

    def test_clients_see_neither_the_application_s_server_nor_a_version(
        self, nginx: NginxServer, application: Application
    ) -> None:
        application.behave = lambda seen: response(b"{}", "200 OK", "Server: gunicorn/1.2.3")
        for target in ("/", "/metrics"):
            assert call(nginx.port, "GET", target).only("Server") == "nginx"


HIDDEN = [
    "/metrics",
    "/metrics/",
    "/health/ready",
    "/%6detrics",
    "//metrics",
    "/x/../metrics",
    "/./metrics",
    "/x%2f..%2fmetrics",
    "/metrics?x=1",
    "/metrics#x",
    "/health//ready",
]


class TestInternalRoutes:
    @pytest.mark.parametrize("target", HIDDEN)
    def test_they_are_not_reachable_from_outside(
        self, nginx: NginxServer, application: Application, target: str
    ) -> None:
        answer = send(nginx.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert answer.json()["code"] == "not_found"
        assert application.seen == []

    @pytest.mark.parametrize("target", [*HIDDEN, *(f"/example{target}" for target in HIDDEN)])
    def test_nor_below_a_prefix(self, prefixed: NginxServer, application: Application, target: str) -> None:
        answer = send(prefixed.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert answer.json()["type"] == "/example/problems/not-found"
        assert application.seen == []

    @pytest.fixture
    def prefixed(self, front: Front, application: Application) -> NginxServer:
        """An nginx with a SERVICE_PREFIX that ends in a slash."""
        return front(application.address, env={"SERVICE_PREFIX": "/example/"})

    @pytest.mark.parametrize("target", ["/health", "/example/health", "/example/api/v1/posts", "/examplefoo", "/"])
    def test_all_others_reach_the_application(
        self, prefixed: NginxServer, application: Application, target: str
    ) -> None:
        assert call(prefixed.port, "GET", target).status == 200
        assert application.seen[0].target == target


COMPRESSED = [
    "/api/v1/posts",
    "/api/v1/posts?limit=2",
    "/api/v1/users",
    "/api/v1/users/7/posts",
    "/openapi.json",
    "/docs",
]
PLAIN = [
    "/api/v1/auth/login",
    "/api/v1/auth/me",
    "/api/v1/auth/sessions",
    "/api/v1/posts/7",
    "/api/v1/users/7",
    "/api/v1/users/7/export",
    "/.well-known/jwks.json",
    "/health",
]


class TestCompression:
    @pytest.fixture(autouse=True)
    def long_answers(self, application: Application) -> None:
        """Make every response long enough for compression."""
        body = json.dumps(["word"] * 1000).encode()
        application.behave = lambda seen: response(body, "200 OK", 'ETag: W/"abc"' if "posts" in seen.target else "")

    @pytest.mark.parametrize("target", COMPRESSED)
    def test_lists_and_documents_are_compressed(
        self, nginx: NginxServer, application: Application, target: str
    ) -> None:
        answer = call(nginx.port, "GET", target, headers={"Accept-Encoding": "gzip"})
        assert answer.only("Content-Encoding") == "gzip"
        assert "Accept-Encoding" in answer.headers.get_all("Vary", [])
        assert json.loads(gzip.decompress(answer.body)) == ["word"] * 1000
        assert application.seen[0].all("Accept-Encoding") == []
        if "posts" in target:
            assert answer.only("ETag") == 'W/"abc"'

    @pytest.mark.parametrize(
        ("method", "target"),
        [*(("GET", target) for target in PLAIN), *(("POST", target) for target in [*PLAIN, *COMPRESSED])],
    )
    def test_resources_with_tokens_or_strong_etags_are_not_compressed(
        self, nginx: NginxServer, method: str, target: str
    ) -> None:
        answer = call(nginx.port, method, target, headers={"Accept-Encoding": "gzip"})
        assert answer.status == 200
        assert answer.headers.get_all("Content-Encoding") is None

    def test_the_response_for_a_new_post_keeps_its_strong_etag(
        self, nginx: NginxServer, application: Application
    ) -> None:
        application.behave = lambda seen: response(b"[" + b"1," * 1000 + b"1]", "201 Created", 'ETag: "abc"')
        answer = call(nginx.port, "POST", "/api/v1/posts", headers={"Accept-Encoding": "gzip"})
        assert answer.only("ETag") == '"abc"'
        assert answer.headers.get_all("Content-Encoding") is None


class TestSlowClients:
    def test_nginx_buffers_a_slow_body(self, nginx: NginxServer, application: Application) -> None:
        with socket.create_connection((LOOPBACK, nginx.port)) as client:
            client.sendall(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
            for byte in b"12345":
                assert application.connections == 0
                time.sleep(0.2)
                client.sendall(bytes([byte]))
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert [seen.body for seen in application.seen] == [b"12345"]

    def test_nginx_closes_a_connection_with_a_slow_header(self, nginx: NginxServer, application: Application) -> None:
        with socket.create_connection((LOOPBACK, nginx.port)) as client:
            began = time.monotonic()
            client.sendall(b"GET / HTTP/1.1\r\n")
            client.settimeout(0.5)
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < began + PATIENCE_SECONDS:
                    client.sendall(b"X-Slow: 1\r\n")
                    with contextlib.suppress(TimeoutError):
                        assert not client.recv(1)
                        break
        # client_header_timeout is 5 s; its default would be 60 s.
        assert 4 < time.monotonic() - began < 30
        assert application.connections == 0

    def test_nginx_buffers_a_response_for_a_slow_client(self, nginx: NginxServer, application: Application) -> None:
        application.behave = lambda seen: response(MANY_BYTES)
        with socket.create_connection((LOOPBACK, nginx.port)) as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            eventually(lambda: bool(application.sent_at))
            received = b""
            while part := client.recv(1 << 16):
                received += part
        assert received.endswith(MANY_BYTES)


def hang_up(seen: Seen) -> None:
    """Close the connection without a response."""


# Requests that would get another response if a second replica carried them out too.
SENT_ONCE = pytest.mark.parametrize(
    ("method", "condition"),
    [
        ("POST", {}),
        ("PATCH", {}),
        ("DELETE", {}),
        ("DELETE", {"If-Match": '"a"'}),
        ("PUT", {"If-Match": '"a"'}),
        ("PUT", {"If-None-Match": "*"}),
    ],
    ids=str,
)


class TestRetries:
    """Two replicas, of which the first closes the connection after every request."""

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
    def test_an_idempotent_request_goes_to_another_replica(self, front: Front, method: str) -> None:
        with Application(hang_up) as bad, Application() as good:
            nginx = front(bad.address, good.address)
            answers = [call(nginx.port, method, "/x", headers={"X-Request-ID": str(i)}).status for i in range(4)]
            assert answers == [200] * 4
            assert bad.seen
            assert sorted(seen.all("X-Request-ID")[0] for seen in good.seen) == ["0", "1", "2", "3"]

    @SENT_ONCE
    def test_any_other_request_is_never_sent_again(self, front: Front, method: str, condition: dict[str, str]) -> None:
        with Application(hang_up) as bad, Application() as good:
            nginx = front(bad.address, good.address)
            # Without body and with one, which nginx sends in another way.
            bodies = {str(i): None if method == "DELETE" and i % 2 else b"{}" for i in range(6)}
            answers = {
                i: call(nginx.port, method, "/x", body=body, headers={**condition, "X-Request-ID": i})
                for i, body in bodies.items()
            }
            lost = {seen.all("X-Request-ID")[0] for seen in bad.seen}
            assert lost
            assert lost.isdisjoint(seen.all("X-Request-ID")[0] for seen in good.seen)
            assert {i: answer.status for i, answer in answers.items()} == {i: 502 if i in lost else 200 for i in bodies}
            assert len(bad.seen) + len(good.seen) == len(bodies)
            problem = answers[min(lost)].json()
            assert (problem["code"], problem["status"]) == ("bad_gateway", 502)
            assert "may or may not" in problem["detail"]
            # The request reaches a replica unchanged.
            assert {(seen.method, seen.target, seen.body) for seen in good.seen} <= {
                (method, "/x", body or b"") for body in bodies.values()
            }

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
    def test_a_conditional_read_goes_to_another_replica(self, front: Front, method: str, name: str) -> None:
        with Application(hang_up) as bad, Application() as good:
            nginx = front(bad.address, good.address)
            assert [call(nginx.port, method, "/x", headers={name: '"a"'}).status for _ in range(4)] == [200] * 4
            assert bad.seen

    @SENT_ONCE
    def test_a_request_that_was_not_sent_goes_to_another_replica(
        self, front: Front, method: str, condition: dict[str, str]
    ) -> None:
        with Application() as good:
            with Application() as gone:
                pass
            nginx = front(gone.address, good.address)
            for number in range(6):
                target = f"/x%20{number}?a=%2F"
                assert call(nginx.port, method, target, body=b"{}", headers=condition).status == 200
                assert (good.seen[-1].target, good.seen[-1].body) == (target, b"{}")

    @SENT_ONCE
    def test_the_client_gets_502_if_there_is_no_replica(
        self, front: Front, method: str, condition: dict[str, str]
    ) -> None:
        with Application() as gone, Application() as another:
            pass
        nginx = front(gone.address, another.address)
        for _ in range(3):
            answer = call(nginx.port, method, "/x", body=b"{}", headers={**condition, "Origin": ORIGIN})
            assert answer.status in (502, 503)
            assert answer.json()["status"] == answer.status
            assert answer.only("Access-Control-Allow-Origin") == ORIGIN
            assert answer.only("Retry-After") == "1"

    @SENT_ONCE
    def test_a_large_body_of_a_request_that_is_sent_once_arrives(
        self, front: Front, method: str, condition: dict[str, str]
    ) -> None:
        with Application() as good:
            nginx = front(good.address)
            body = b"x" * 200_000
            headers = {**condition, "Expect": "100-continue"}
            assert call(nginx.port, method, "/x", body=body, headers=headers).status == 200
            assert good.seen[-1].body == body
            assert call(nginx.port, method, "/x", body=b"x" * 1_100_000, headers=condition).status == 413


@pytest.fixture
def silent_addresses() -> Iterator[list[str]]:
    """Five addresses that do not respond to an attempt to connect, like those of machines that have failed."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0)) for _ in range(5)]
        # The kernel ignores attempts to connect while the backlog is full.
        for listener in listeners:
            for _ in range(2):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
        yield [f"{LOOPBACK}:{listener.getsockname()[1]}" for listener in listeners]


def test_the_time_for_unreachable_replicas_is_shorter_than_the_queue_time(
    front: Front, stack: Stack, silent_addresses: list[str]
) -> None:
    """The application counts this time as waiting, because nginx sends the time of the first attempt again."""
    nginx = front(*silent_addresses, f"{LOOPBACK}:{stack.replicas[0].port}")
    statuses = [call(nginx.port, method, f"{API}/nowhere").status for method in ("GET", "POST") * 3]
    assert statuses == [404] * 6
    # Some of them were sent to the unreachable ones first.
    eventually(lambda: '"app_status":"504, ' in nginx.log_text())


# A shorter timeout than the default, and no limit on retries that a test could reach.
IMPATIENT = {"NGINX_APP_TIMEOUT": "1s", "NGINX_RETRY_TIMEOUT": "60s"}


class TestTimeout:
    """Two replicas, of which one accepts every request and never responds."""

    @pytest.fixture
    def silence(self) -> Iterator[Application]:
        """A replica that does not respond until the test is over."""
        over = threading.Event()

        def wait(seen: Seen) -> None:
            over.wait(PATIENCE_SECONDS)

        with Application(wait) as silent:
            yield silent
            over.set()

    def test_an_idempotent_request_goes_to_another_replica(
        self, front: Front, application: Application, silence: Application
    ) -> None:
        nginx = front(silence.address, application.address, env=IMPATIENT)
        assert [call(nginx.port, method, "/x").status for method in ("GET", "PUT", "GET")] == [200] * 3
        assert silence.seen
        assert [seen.method for seen in application.seen] == ["GET", "PUT", "GET"]

    @SENT_ONCE
    def test_any_other_request_is_never_sent_again(
        self, front: Front, application: Application, silence: Application, method: str, condition: dict[str, str]
    ) -> None:
        nginx = front(silence.address, application.address, env=IMPATIENT)
        statuses = []
        while 504 not in statuses:
            statuses.append(call(nginx.port, method, "/x", body=b"{}", headers=condition).status)
        assert len(silence.seen) == 1
        assert len(application.seen) == len(statuses) - 1

    def test_the_client_gets_504_if_no_replica_responds(self, front: Front, silence: Application) -> None:
        with Application(silence.behave) as another, Application(silence.behave) as third:
            waits = {"NGINX_APP_TIMEOUT": "1s", "NGINX_RETRY_TIMEOUT": "1500ms"}
            nginx = front(silence.address, another.address, third.address, env=waits)
            assert call(nginx.port, "GET", "/x").status == 504
            # A third attempt would begin after NGINX_RETRY_TIMEOUT.
            assert len(silence.seen + another.seen + third.seen) <= 2

    def test_the_default_timeouts_are_longer_than_the_application_s(self) -> None:
        texts = dict(re.findall(r"(NGINX_APP_TIMEOUT|NGINX_RETRY_TIMEOUT):=(\d+)s", START))
        timeout, retry = (int(texts[name]) for name in ("NGINX_APP_TIMEOUT", "NGINX_RETRY_TIMEOUT"))
        queue_seconds = load_settings().max_queue_ms / 1000
        assert queue_seconds + DEADLINE_SECONDS < timeout < retry < 2 * timeout
        # Otherwise the application would refuse a request that another replica did not respond to.
        assert timeout >= RETRY_FACTOR * queue_seconds


class TestQueueTime:
    """The application's limit on the time since X-Request-Start, as nginx sends it."""

    def status_after(self, stack: Stack, seconds: float) -> int:
        """Return the status for a request that nginx passed on so many seconds ago."""
        start = f"t={time.time() - seconds:.3f}"
        return call(stack.replicas[0].port, "GET", f"{API}/posts", headers={"X-Request-Start": start}).status

    def test_a_request_that_has_waited_too_long_is_refused(self, stack: Stack) -> None:
        assert self.status_after(stack, 0) == 200
        assert self.status_after(stack, MAX_QUEUE_SECONDS + 0.1) == 503

    def test_a_request_that_another_replica_did_not_respond_to_is_not(self, stack: Stack) -> None:
        # nginx sends the time of the first attempt again.
        assert self.status_after(stack, RETRY_FACTOR * MAX_QUEUE_SECONDS + 0.1) == 200


class TestLog:
    def test_a_line_is_json_without_the_query(self, nginx: NginxServer) -> None:
        path = "/api/v1/posts"
        call(nginx.port, "GET", f"{path}?token=secret-in-a-query", headers={"X-Request-ID": "logged", "Origin": ORIGIN})
        call(nginx.port, "GET", f"/{'a' * 9000}?token=secret-in-a-query")
        eventually(lambda: nginx.log_text().count("\n") == 2)
        lines = [json.loads(line) for line in nginx.log_text().splitlines()]
        line = next(line for line in lines if line["request_id"] == "logged")
        assert (line["method"], line["path"], line["status"], line["ip"]) == ("GET", path, 200, LOOPBACK)
        assert "secret-in-a-query" not in nginx.log_text()
        assert max(len(line["path"]) for line in lines) <= 200

    def test_a_line_of_a_response_of_nginx_itself_has_the_method_that_the_client_sent(self, front: Front) -> None:
        with Application() as gone:
            pass
        nginx = front(gone.address, env={"MAX_BODY_BYTES": "2000"})
        expected = {}
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            for target, body, status in (
                ("/x", b"", 502),
                ("/metrics", b"", 404),
                ("/x", b"x" * 3000, 413),
                ("/" + "x" * 8500, b"", 414),
            ):
                name = f"{method}-{status}"
                found = call(nginx.port, method, target, body=body or None, headers={"X-Request-ID": name}).status
                expected[name] = (method, found)
                assert found == status or (found, status) == (503, 502), name
        call(nginx.port, "TRACE", "/x", headers={"X-Request-ID": "trace"})
        expected["trace"] = ("TRACE", 405)
        eventually(lambda: nginx.log_text().count("\n") >= len(expected))
        lines = [json.loads(line) for line in nginx.log_text().splitlines()]
        assert {line["request_id"]: (line["method"], line["status"]) for line in lines} == expected

    def test_a_malformed_request_line_is_logged_as_json(self, nginx: NginxServer) -> None:
        for line in (b"get /x HTTP/1.1", b'G"ET /x HTTP/1.1', b"\xff\xfe", b"POST", b"A" * 300 + b" / HTTP/1.1"):
            with contextlib.suppress(http.client.HTTPException, OSError):
                send(nginx.port, line + b"\r\nHost: x\r\n\r\n")
        eventually(lambda: nginx.log_text().count("\n") >= 4)
        for text in nginx.log_text().splitlines():
            assert len(json.loads(text)["method"]) <= 20


class TestWholeStack:
    def test_the_application_gets_the_client_s_address_and_request_id(self, stack: Stack) -> None:
        token = stack.register()
        headers = {"X-Request-ID": "the-whole-way", "X-Forwarded-For": "6.6.6.6"}
        answer = stack.call("GET", "/auth/sessions", token=token, headers=headers)
        assert [session["ip"] for session in answer.json()["items"]] == [LOOPBACK]
        assert answer.only("X-Request-ID") == "the-whole-way"
        eventually(lambda: any("the-whole-way" in replica.log_text() for replica in stack.replicas))

    def test_a_post_is_created_read_listed_and_edited_with_its_etag(self, stack: Stack) -> None:
        token = stack.register()
        accept = {"Accept-Encoding": "gzip"}
        new = {"title": "Title", "content": "word " * 2000}
        created = stack.call("POST", "/posts", token=token, payload=new, headers=accept)
        assert created.status == 201
        path = created.only("Location").removeprefix("/api/v1")
        read = stack.call("GET", path, token=token, headers=accept)
        assert read.only("ETag") == created.only("ETag")
        assert not read.only("ETag").startswith("W/")
        match = {"If-Match": read.only("ETag")}
        assert stack.call("PATCH", path, token=token, payload={"title": "Newer"}, headers=match).status == 200
        assert stack.call("PATCH", path, token=token, payload={"title": "Lost"}, headers=match).status == 412
        listed = stack.call("GET", "/posts?limit=1&include=content", headers=accept)
        assert listed.only("Content-Encoding") == "gzip"
        again = stack.call(
            "GET", "/posts?limit=1&include=content", headers={**accept, "If-None-Match": listed.only("ETag")}
        )
        assert again.status == 304

    def test_the_rate_limit_of_an_address_holds_across_replicas(self, stack: Stack) -> None:
        left = [int(stack.call("GET", "/posts").only("X-RateLimit-Remaining")) for _ in range(8)]
        assert left == list(range(left[0], left[0] - 8, -1))
