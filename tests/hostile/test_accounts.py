"""Attacks on accounts: enumeration, credential stuffing, mass assignment, similar addresses, cookies, and the log."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.auth.support import reissue
from tests.conftest import API, PASSWORD
from tests.hostile.cases import JSON, Case, ask, check, table
from tests.hostile.conftest import NewDatabase
from tests.hostile.target import ORIGIN, Answer, Target, message, serving

INVALID, TAKEN, REFUSED = (422, "validation_error"), (409, "email_taken"), (401, "invalid_credentials")
FRANK = {"email": "frank@example.com", "name": "Frank", "password": PASSWORD}
MADE, BAD, NONE = (201, ""), (400, "malformed_request"), (401, "authentication_required")


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
    "id": 3,
    "role": "admin",
    "is_admin": True,
    "is_active": True,
    "admin": 1,
    "roles": ["admin"],
    "scope": "admin",
    "email_verified": True,
    "password_hash": "x",
    "email_key": "x",
    "name_key": "x",
    "created_at": "2020-01-01",
    "updated_at": "2020-01-01T00:00:00Z",
    "user": {"role": "admin"},
    "user_id": 3,
    "sessions": [],
    "fresh": True,
}
POST_MEMBERS: dict[str, Any] = {
    "id": 1,
    "author_id": 3,
    "author": {"id": 3},
    "user_id": 3,
    "created_at": "2020-01-01T00:00:00Z",
    "likes": 9,
    "updated_at": "2020-01-01T00:00:00Z",
    "published_at": "2020-01-01T00:00:00Z",
    "author_name": "Carol",
}
POST = {"title": "T", "content": "C"}
BIO = {"bio": "Changed"}
MASS = [
    *(register(f"register {name}", **{name: value}) for name, value in SECRET_MEMBERS.items()),
    *(log_in(f"login {name}", INVALID, **{name: value}) for name, value in SECRET_MEMBERS.items()),
    *(
        ask(f"profile {name}", "PATCH /users/1", *INVALID, who="alice", body=BIO | {name: value})
        for name, value in SECRET_MEMBERS.items()
        if name not in ("role", "is_active")
    ),
    *(
        ask(f"profile {name}={value}", "PATCH /users/1", 403, "forbidden", who="alice", body=BIO | {name: value})
        for name, value in (("role", "admin"), ("role", "user"), ("is_active", False), ("is_active", True))
    ),
    ask(
        "whole profile with a role", "PUT /users/1", 403, "forbidden", who="alice", body={"name": "Al", "role": "admin"}
    ),
    *(
        ask(f"administrator sets {name}", "PATCH /users/1", *INVALID, who="carol", body={name: SECRET_MEMBERS[name]})
        for name in ("id", "email_verified", "password_hash", "created_at", "fresh")
    ),
    ask("administrator sets an email", "PATCH /users/1", *INVALID, who="carol", body={"email": "x@example.com"}),
    ask("administrator sets a password", "PATCH /users/1", *INVALID, who="carol", body={"password": PASSWORD}),
    ask("role unknown", "PATCH /users/1", *INVALID, who="carol", body={"role": "owner"}),
    ask("role a list", "PATCH /users/1", *INVALID, who="carol", body={"role": ["admin"]}),
    ask("last administrator goes", "PATCH /users/3", 409, "last_admin", who="carol", body={"role": "user"}),
    ask("last administrator is disabled", "PATCH /users/3", 409, "last_admin", who="carol", body={"is_active": False}),
    ask("last administrator is deleted", "DELETE /users/3", 409, "last_admin", who="carol"),
    *(ask(f"post {n}", "POST /posts", *INVALID, who="bob", body=POST | {n: v}) for n, v in POST_MEMBERS.items()),
    *(ask(f"patch {n}", "PATCH /posts/1", *INVALID, who="alice", body={n: v}) for n, v in POST_MEMBERS.items()),
    *(ask(f"put {n}", "PUT /posts/1", *INVALID, who="alice", body=POST | {n: v}) for n, v in POST_MEMBERS.items()),
]


@table(MASS)
def test_a_member_that_no_client_may_set(target: Target, case: Case) -> None:
    check(target, case)


# Addresses

NOT_ADDRESSES = (
    *(" alice@example.com", "alice@example.com ", "alice@example.com.", "alice@example.com\n", "alice", "@", ""),
    *("@example.com", "alice@", "alice@@example.com", "alice@evil@example.com", "alice@localhost", "alice@example"),
    *('"alice"@example.com', '"a b"@example.com', "alice@[127.0.0.1]", "alice@127.0.0.1", "alice(x)@example.com"),
    *("<alice@example.com>", "Alice <alice@example.com>", "alice@example.com,bob@example.com", "alice@example..com"),
    *("alice@example.com;bob@example.com", "alice@-example.com", ".alice@example.com", "al..ice@example.com"),
    *("alice@example.com\x00", "alice@example.com%00", "alice\r\nBcc: x@evil.example", "' OR 1=1 --@example.com"),
    *("ali\u200bce@example.com", "ali\u202ece@example.com", "ali\xadce@example.com", "alice@exam\xadple.com"),
    *("alice@xn--", "alice@xn--a", "alice@😀.com", "a" * 65 + "@example.com", "a@" + "b" * 64 + ".com"),
    *("a@" + ".".join(["b" * 60] * 5) + ".com", "\x1b[31malice@example.com", "alice@example.com" * 1000),
)
SAME_ADDRESSES = {
    "upper case": "ALICE@EXAMPLE.COM",
    "domain in upper case": "alice@EXAMPLE.com",
    "full-width domain": "alice@ｅｘａｍｐｌｅ.com",
    "ideographic full stop": "alice@example。com",
}
OTHER_ADDRESSES = {
    "full-width letter": "ａlice@example.com",
    "dotless i": "alıce@example.com",
    "dotted capital i": "ALİCE@example.com",
    "Cyrillic letter": "аlice@example.com",
    "Cyrillic domain": "alice@exаmple.com",
    "punycode domain": "alice@xn--exmple-4nf.com",
    "plus": "alice+x@example.com",
    "dot": "al.ice@example.com",
    "percent": "alice%40evil.example@example.com",
}
ADDRESSES = [
    *(register(f"no address {number}", email=text) for number, text in enumerate(NOT_ADDRESSES)),
    *(log_in(f"login, no address {number}", INVALID, email=text) for number, text in enumerate(NOT_ADDRESSES)),
    *(register(f"taken: {name}", TAKEN, email=text) for name, text in SAME_ADDRESSES.items()),
    *(log_in(f"login: {name}", email=text) for name, text in OTHER_ADDRESSES.items()),
]


@table(ADDRESSES)
def test_an_invalid_address_or_one_that_is_taken(target: Target, case: Case) -> None:
    check(target, case)


# Pairs of spellings of one address, which must not become two accounts.
TWINS = [
    ("Kelvin sign", "kim@example.com", "\u212aim@example.com"),
    ("NFD", "renée@example.com", "rene\u0301e@example.com"),
    ("sharp s", "strauss@example.com", "strauß@example.com"),
    ("ligature", "fin@example.com", "ﬁn@example.com"),
    ("long s", "sam@example.com", "ſam@example.com"),
    ("final sigma", "νικος@example.com", "νικοσ@example.com"),
]


@pytest.mark.parametrize(("first", "second"), [twin[1:] for twin in TWINS], ids=[twin[0] for twin in TWINS])
def test_two_spellings_are_one_account(target: Target, first: str, second: str) -> None:
    try:
        made = target.send(register("first", MADE, email=first).build(target))
        assert made.status == 201
        again = target.send(register("second", TAKEN, email=second).build(target))
        assert (again.status, again.json()["code"]) == TAKEN
        signed_in = target.send(log_in("either", (200, ""), email=second).build(target))
        assert signed_in.json()["user"]["id"] == made.json()["user"]["id"]
    finally:
        target.restore()


# Enumeration

SECRETIVE = [
    log_in("unknown address", email="nobody@example.com"),
    log_in("wrong password", password="wrong password"),
    log_in("disabled account", email="dora@example.com"),
    log_in("password of other case", password=PASSWORD.upper()),
    log_in("password with a space after", password=PASSWORD + " "),
    log_in("password cut", password=PASSWORD[:-1]),
    log_in("password of 128", password="x" * 128),
    log_in("SQL for a password", password="' OR '1'='1"),
    log_in("hash for a password", password="$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA"),
]
PASSWORDS: dict[str, Any] = {
    "empty": "",
    "null": None,
    "number": 1,
    "true": True,
    "list": [PASSWORD],
    "object": {"$ne": ""},
    "129": "x" * 129,
    "a million": "x" * 1_000_000,
    "NUL": "correct\x00horse",
    "surrogate": "\ud800" * 8,
}


@table([*SECRETIVE, *(log_in(f"password {name}", INVALID, password=value) for name, value in PASSWORDS.items())])
def test_a_guess_at_a_password(target: Target, case: Case) -> None:
    check(target, case)


def test_every_failed_login_gets_the_same_response(target: Target) -> None:
    answers = [target.send(case.build(target)) for case in SECRETIVE]
    first, *others = [_without_names(answer) for answer in answers]
    assert all(other == first for other in others)


def _without_names(answer: Answer) -> tuple[dict[str, str], dict[str, Any]]:
    headers = {k: v for k, v in answer.headers.items() if k not in ("X-Request-ID", "Date", "Content-Length")}
    return headers, answer.json() | {"request_id": ""}


WEAK = (
    "password",
    "12345678",
    "qwertyuiop",
    "gatepost",
    "gatepost1",
    "frank@example.com",
    "short",
    " " * 8,
    "\x00" * 8,
)


@table([register(f"weak {number}", password=text) for number, text in enumerate(WEAK)])
def test_a_weak_password_is_refused(target: Target, case: Case) -> None:
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


# Cookies: browsers send them with requests of any site


def cookie(name: str, expected: tuple[int, str], value: str, **headers: str) -> Case:
    """Return a case of a refresh by cookie, with Alice's tokens in place of {refresh} and {access}."""

    def build(target: Target) -> bytes:
        text = value.replace("{refresh}", target.alice.refresh).replace("{access}", target.alice.access)
        fields = {"Cookie": text, **{n.replace("_", "-"): v for n, v in headers.items()}}
        fields = {n: v.replace("{refresh}", target.alice.refresh) for n, v in fields.items()}
        return message("POST", f"{API}/auth/refresh", fields)

    return Case(name, *expected, build)


OURS = "gatepost_refresh={refresh}"
GUESS = {"X_CSRF_TOKEN": "0" * 32}
COOKIES = [
    cookie("no CSRF token", NONE, OURS),
    cookie("no CSRF token, our origin", NONE, OURS, Origin=ORIGIN),
    cookie("no CSRF token, another origin", NONE, OURS, Origin="https://evil.example"),
    cookie("another header of that sense", NONE, OURS, X_Requested_With="XMLHttpRequest"),
    cookie("guessed CSRF token", (401, "token_invalid"), OURS, **GUESS),
    cookie("empty CSRF token", (401, "token_invalid"), OURS, X_CSRF_TOKEN=""),
    cookie("short CSRF token", (401, "token_invalid"), OURS, X_CSRF_TOKEN="00"),
    cookie("CSRF token of words", (401, "token_invalid"), OURS, X_CSRF_TOKEN="null"),
    cookie("CSRF token not ASCII", (401, "token_invalid"), OURS, X_CSRF_TOKEN="\xe9" * 32),
    cookie("the cookie as CSRF token", (401, "token_invalid"), OURS, X_CSRF_TOKEN="{refresh}"),
    cookie("CSRF token in a cookie", NONE, OURS + "; X-CSRF-TOKEN=" + "0" * 32),
    cookie("cookie twice", BAD, f"{OURS}; {OURS}", **GUESS),
    cookie("cookie and header", BAD, OURS, **GUESS, Authorization="Bearer {refresh}"),
    cookie("access token as the cookie", (401, "token_invalid"), "gatepost_refresh={access}", **GUESS),
    cookie("rubbish as the cookie", (401, "token_invalid"), "gatepost_refresh=x", **GUESS),
    cookie("quoted cookie", (401, "token_invalid"), 'gatepost_refresh="{refresh}"', **GUESS),
    cookie("cookie of another name", NONE, "refresh_token={refresh}", **GUESS),
    cookie("cookie of another case", NONE, "GATEPOST_REFRESH={refresh}", **GUESS),
    cookie("cookie not UTF-8", NONE, "x=\xff; y=\xc3", **GUESS),
    cookie("cookie header of semicolons", NONE, ";" * 4000, **GUESS),
    cookie("cookie without a value", NONE, "gatepost_refresh=", **GUESS),
]


@table(COOKIES)
def test_a_cookie_without_its_csrf_token(target: Target, case: Case) -> None:
    check(target, case)


# The log


def test_no_text_of_a_client_forges_a_line_of_the_log(target: Target) -> None:
    """Text that could forge a line is sent in every place; assert_unharmed parses each line as one JSON object."""
    forged = '\\n{"level": "info", "event": "request", "user_id": 3}'
    for agent in (
        forged,
        "\xe9\x85\xa0",
        "\xc2\x85\xe2\x80\xa8",
        "%0a%0d",
        "a" * 8000,
        '"},{"level":"error"',
        "${jndi:ldap://x}",
    ):
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


def test_no_secret_is_logged(target: Target) -> None:
    token = reissue(target.alice.access, key="another-key-of-the-attacker-0123456789")
    target.send(message("GET", f"{API}/auth/me?access_token={token}", {"Authorization": f"Bearer {token}, {token}"}))
    target.send(log_in("secret", password="hunter2-hunter2").build(target))
    target.send(message("POST", f"{API}/auth/refresh", {"Cookie": f"gatepost_refresh={token}"}))
    text = target.server.log_text()
    for secret in (token, token.rpartition(".")[2], "hunter2", PASSWORD, target.alice.access, target.alice.refresh):
        assert secret not in text
