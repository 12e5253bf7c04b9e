"""Attacks on accounts: mass assignment, credential stuffing, and text that forges lines of the log."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import API, PASSWORD
from tests.hostile.cases import JSON, Case, ask, check, table
from tests.hostile.conftest import NewDatabase
from tests.hostile.target import Target, message, serving

INVALID, REFUSED = (422, "validation_error"), (401, "invalid_credentials")
FRANK = {"email": "frank@example.com", "name": "Frank", "password": PASSWORD}
NONE = (401, "authentication_required")


def register(title: str, expected: tuple[int, str] = INVALID, /, **changes: Any) -> Case:
    """Return the body of a registration with other members."""
    return ask(title, "POST /auth/register", *expected, body=FRANK | changes)


def log_in(title: str, expected: tuple[int, str] = REFUSED, /, **changes: Any) -> Case:
    """Return the body of a login with other members."""
    return ask(
        title, "POST /auth/login", *expected, body={"email": "alice@example.com", "password": PASSWORD} | changes
    )


# Mass assignment: members that no client may set

SECRET_MEMBERS: dict[str, Any] = {
    **dict.fromkeys(("id", "user_id"), 3),
    **dict.fromkeys(("is_admin", "is_active", "email_verified", "fresh"), True),
    **dict.fromkeys(("password_hash", "email_key", "name_key"), "x"),
    "role": "admin",
    "admin": 1,
    "roles": ["admin"],
    "scope": "admin",
    "user": {"role": "admin"},
    "sessions": [],
    "created_at": "2020-01-01",
    "updated_at": "2020-01-01T00:00:00Z",
}
POST_MEMBERS: dict[str, Any] = {
    "id": 1,
    "author_id": 3,
    "author": {"id": 3},
    "author_name": "Carol",
    "user_id": 3,
    "likes": 9,
    **dict.fromkeys(("created_at", "updated_at", "published_at"), "2020-01-01T00:00:00Z"),
}
POST = {"title": "T", "content": "C"}
BIO = {"bio": "Changed"}
MASS = [
    *(register(f"register {name}", **{name: value}) for name, value in SECRET_MEMBERS.items()),
    *(
        ask(f"profile {name}", "PATCH /users/1", *INVALID, user="alice", body=BIO | {name: value})
        for name, value in SECRET_MEMBERS.items()
        if name not in ("role", "is_active")
    ),
    *(
        ask(f"profile {name}={value}", "PATCH /users/1", 403, "forbidden", user="alice", body=BIO | {name: value})
        for name, value in (("role", "admin"), ("role", "user"), ("is_active", False), ("is_active", True))
    ),
    ask("whole profile, role", "PUT /users/1", 403, "forbidden", user="alice", body={"name": "Al", "role": "admin"}),
    *(
        ask(f"administrator sets {name}", "PATCH /users/1", *INVALID, user="carol", body={name: SECRET_MEMBERS[name]})
        for name in ("id", "email_verified", "password_hash", "created_at", "fresh")
    ),
    ask("administrator sets an email", "PATCH /users/1", *INVALID, user="carol", body={"email": "x@example.com"}),
    ask("administrator sets a password", "PATCH /users/1", *INVALID, user="carol", body={"password": PASSWORD}),
    ask("role unknown", "PATCH /users/1", *INVALID, user="carol", body={"role": "owner"}),
    ask("role a list", "PATCH /users/1", *INVALID, user="carol", body={"role": ["admin"]}),
    ask("last administrator goes", "PATCH /users/3", 409, "last_admin", user="carol", body={"role": "user"}),
    ask("last administrator is disabled", "PATCH /users/3", 409, "last_admin", user="carol", body={"is_active": False}),
    ask("last administrator is deleted", "DELETE /users/3", 409, "last_admin", user="carol"),
    *(ask(f"post {n}", "POST /posts", *INVALID, user="bob", body=POST | {n: v}) for n, v in POST_MEMBERS.items()),
    *(ask(f"patch {n}", "PATCH /posts/1", *INVALID, user="alice", body={n: v}) for n, v in POST_MEMBERS.items()),
    *(ask(f"put {n}", "PUT /posts/1", *INVALID, user="alice", body=POST | {n: v}) for n, v in POST_MEMBERS.items()),
]


@table(MASS)
def test_a_member_that_no_client_may_set(target: Target, case: Case) -> None:
    check(target, case)


# Credential stuffing: on a server with rate limits, from one address with any forwarding headers


@pytest.fixture(scope="module")
def counting(new_database: NewDatabase, backend: str) -> Iterator[Target]:
    """A server with low limits."""
    limits = {"LOGIN_ACCOUNT": "3 per 5 minutes", "LOGIN_ADDRESS": "8 per 5 minutes", "REGISTER": "2 per hour"}
    env = {f"RATELIMIT_{name}": value for name, value in limits.items()}
    with serving(new_database(backend), RATELIMIT_ENABLED="true", **env) as target:
        yield target


def send_from(target: Target, address: str, data: bytes) -> int:
    """Send from another address of this machine and return the status."""
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=60, source_address=(address, 0)) as client:
        client.sendall(data)
        return int(client.makefile("rb").readline().split()[1])


SPOOFS = [
    {"X-Forwarded-For": "203.0.113.{n}"},
    {"X-Forwarded-For": "127.0.0.1, 203.0.113.{n}", "X-Real-IP": "203.0.113.{n}"},
    {"Forwarded": "for=203.0.113.{n}", "True-Client-IP": "203.0.113.{n}", "CF-Connecting-IP": "203.0.113.{n}"},
    {"X-Client-IP": "203.0.113.{n}", "X-Cluster-Client-IP": "203.0.113.{n}", "X-Originating-IP": "203.0.113.{n}"},
    {"X-Forwarded-For": "::{n}", "Fastly-Client-IP": "203.0.113.{n}", "X_Forwarded_For": "203.0.113.{n}"},
    {"User-Agent": "bot {n}", "X-Request-ID": "bot-{n}", "Host": "h{n}.example", "Via": "1.1 proxy{n}"},
]


def spoofed(number: int, body: dict[str, str], path: str = "/auth/login") -> bytes:
    """Return a request whose headers claim another address each time."""
    headers = {name: value.format(n=number) for name, value in SPOOFS[number % len(SPOOFS)].items()}
    return message("POST", API + path, {**headers, "Content-Type": JSON}, json.dumps(body))


def test_guessing_is_limited_with_any_headers_and_does_not_lock_out_the_owner(counting: Target) -> None:
    guess, right = (
        {"email": "alice@example.com", "password": "wrong password"},
        {"email": "alice@example.com", "password": PASSWORD},
    )
    attacker = "127.0.0.66"
    statuses = [send_from(counting, attacker, spoofed(n, guess)) for n in range(6)]
    assert statuses == [401, 401, 401, 429, 429, 429]
    # Neither does another spelling of the address help, nor the correct password.
    assert send_from(counting, attacker, spoofed(7, guess | {"email": "ALICE@EXAMPLE.COM"})) == 429
    assert send_from(counting, attacker, spoofed(8, right)) == 429
    # The owner can still log in from another address.
    assert send_from(counting, "127.0.0.77", spoofed(9, right)) == 200
    # One guess for each of many accounts: the limit of the address applies.
    many = [send_from(counting, attacker, spoofed(n, guess | {"email": f"user{n}@example.com"})) for n in range(8)]
    assert many == [401] * 5 + [429] * 3


def test_registering_is_limited_and_discloses_few_addresses(counting: Target) -> None:
    attacker = "127.0.0.88"
    made = [
        send_from(counting, attacker, spoofed(n, FRANK | {"email": f"f{n}@example.com"}, "/auth/register"))
        for n in range(4)
    ]
    assert made == [201, 201, 429, 429]
    asked = [
        send_from(counting, "127.0.0.99", spoofed(n, FRANK | {"email": "bob@example.com"}, "/auth/register"))
        for n in range(10)
    ]
    assert asked == [409] * 8 + [429] * 2


# The log


def test_no_text_of_a_client_forges_a_line_of_the_log(target: Target) -> None:
    """Text that could forge a line is sent in every place; assert_unharmed parses each line as one JSON object."""
    forged = '\\n{"level": "info", "event": "request", "user_id": 3}'
    agents = (
        *(forged, "\xe9\x85\xa0", "\xc2\x85\xe2\x80\xa8", "%0a%0d", "a" * 8000, '"},{"level":"error"'),
        "${jndi:ldap://x}",
    )
    for agent in agents:
        for case in (log_in("agent", password="wrong password"), ask("agent", "GET /auth/me", *NONE)):
            data = case.build(target).replace(
                b"\r\n\r\n", b"\r\nUser-Agent: " + agent.encode("latin-1") + b"\r\n\r\n", 1
            )
            assert target.send(data).status == 401
    for path in (f"{API}/posts/1%0a{{", f"{API}/posts?q=%0d%0a%1b[2J", "/%1b[31m", "/%E2%80%A8x"):
        assert target.send(message("GET", path)).status in (404, 422)
    for name in ("A\nB", "A\x1b[2JB", "A\u2028B", "A\u202eB"):
        answer = target.send(register("name", email=f"log{len(name)}@example.com", name=name).build(target))
        assert answer.status in (201, 422)
        target.restore()
    assert all("forged" not in line for line in target.log_lines())
