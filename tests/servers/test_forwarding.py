"""SERVICE_PREFIX and TRUSTED_PROXIES: where the service answers, and which forwarding headers count."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from gatepost.testing.services import LOOPBACK, ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API
from tests.servers.conftest import PREFIX
from tests.servers.wire import Connection, get, request, wait_until
from tests.support.services.nginx import NginxServer

HSTS = "strict-transport-security"


def logged_line(server: GatepostServer, request_id: str) -> dict[str, Any]:
    """Return the log's line of a request that was answered."""

    def lines() -> list[dict[str, Any]]:
        found = [line for line in server.log_text().splitlines() if request_id in line and line.endswith("}")]
        return [json.loads(line) for line in found]

    wait_until(lambda: bool(lines()), f"no line for {request_id}")
    return lines()[-1]


def ask_for_address(server: GatepostServer, port: int | None, *headers: str) -> tuple[str, bool]:
    """Return the address that the application counts a request by, and whether it takes the connection for TLS."""
    request_id = secrets.token_hex(8)
    with Connection(server, port) as connection:
        data = request("GET /health HTTP/1.1", f"X-Request-ID: {request_id}", "Connection: close", *headers)
        answer = connection.ask(data)
    assert answer.status == 200
    return logged_line(server, request_id)["ip"], HSTS in answer.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PREFIX}{API}/posts", 200),
        (f"{PREFIX}/health", 200),
        (PREFIX, 200),
        ("/health", 200),
        ("/health/ready", 200),
        ("/metrics", 200),
        (f"{API}/posts", 404),
        (f"{PREFIX}foo/health", 404),
        (f"{PREFIX}{PREFIX}/health", 404),
        (f"{PREFIX}/../health", 404),
    ],
)
def test_the_service_answers_below_its_prefix_alone(proxied: GatepostServer, path: str, status: int) -> None:
    answer = get(proxied, path)
    assert answer.status == status
    if status == 404:
        assert answer.outcome == (404, "not_found")


def test_locations_and_problem_types_have_the_prefix(proxied: GatepostServer) -> None:
    answer = get(proxied, f"{PREFIX}{API}/nowhere")
    assert answer.json["type"] == f"{PREFIX}/problems/not-found"
    assert get(proxied, answer.json["type"]).status == 200
    links = get(proxied, f"{PREFIX}{API}/posts?page=1").headers["link"]
    assert f"<{PREFIX}{API}/posts?" in links


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], LOOPBACK),
        (["X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
        (["Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6"], LOOPBACK),
    ],
)
def test_one_trusted_proxy_is_believed_about_the_address(
    proxied: GatepostServer, headers: list[str], address: str
) -> None:
    assert ask_for_address(proxied, None, *headers) == (address, False)


@pytest.mark.parametrize(
    ("headers", "is_tls"),
    [
        (["X-Forwarded-Proto: https"], True),
        (["X-Forwarded-Proto: http"], False),
        (["X-Forwarded-Proto: https, http"], False),
        (["X-Forwarded-Proto: http", "X-Forwarded-Proto: https"], True),
        (["X-Forwarded-Ssl: on", "X-Forwarded-Protocol: ssl", "Front-End-Https: on"], False),
    ],
)
def test_one_trusted_proxy_is_believed_about_tls(proxied: GatepostServer, headers: list[str], is_tls: bool) -> None:
    assert ask_for_address(proxied, None, *headers) == (LOOPBACK, is_tls)


def test_without_a_trusted_proxy_no_header_is_believed(server: GatepostServer) -> None:
    forged = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Ssl: on",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Host: evil.example",
        "Script-Name: /evil",
        "Path-Info: /evil",
        "Remote-Addr: 6.6.6.6",
        "Forwarded: for=6.6.6.6;proto=https",
    ]
    assert ask_for_address(server, None, *forged) == (LOOPBACK, False)
    assert ask_for_address(server, None, *(header.replace("-", "_") for header in forged)) == (LOOPBACK, False)


UNDERSCORES = [
    ["X_Forwarded_For: 6.6.6.6", "X_Forwarded_Proto: https"],
    ["X-Forwarded_For: 6.6.6.6", "X_Forwarded-Proto: https"],
]


@pytest.mark.parametrize("kind", ["gunicorn"], indirect=True)
@pytest.mark.parametrize("headers", UNDERSCORES)
def test_gunicorn_drops_header_names_with_underscores(proxied: GatepostServer, headers: list[str]) -> None:
    """In WSGI they have the same names as the headers of the proxy. granian does not drop them: nginx must."""
    assert ask_for_address(proxied, None, *headers) == (LOOPBACK, False)
    own = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"]
    assert ask_for_address(proxied, None, *own, *headers) == ("192.0.2.1", False)
    assert ask_for_address(proxied, None, *headers, *own) == ("192.0.2.1", False)


@pytest.fixture(scope="module")
def nginx(proxied_server: GatepostServer) -> Any:
    """The project's nginx in front of the server."""
    try:
        with NginxServer(f"{LOOPBACK}:{proxied_server.port}", env={"SERVICE_PREFIX": PREFIX}) as started:
            yield started
    except ServiceMissing as error:
        skip_or_fail(error)


def test_behind_nginx_no_client_chooses_its_address(proxied: GatepostServer, nginx: NginxServer) -> None:
    forged = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"]
    for headers in [forged, *UNDERSCORES]:
        assert ask_for_address(proxied, nginx.port, *headers) == (LOOPBACK, False)
