"""TRUSTED_PROXIES: exactly this number of hops is trusted, and no value that a client adds before them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.components import components_of
from gatepost.testing.applications import NewClient, clients
from tests.api.test_pagination import links
from tests.conftest import API, PASSWORD, Person

PEER = "10.0.0.1"


@pytest.fixture(scope="module")
def lasting(shared_app: Flask) -> Iterator[NewClient]:
    """Return the function of `behind`, whose applications all tests use."""
    with clients(components_of(shared_app).settings) as make:
        yield make


@pytest.fixture
def behind(app: Flask, lasting: NewClient) -> NewClient:
    """Return a function that makes a client of an application with another number of trusted proxies."""
    return lasting


def address_of_login(client: FlaskClient, person: Person, headers: dict[str, str]) -> str:
    """Return the address of a new session, from the list of its owner's sessions."""
    environ = {"REMOTE_ADDR": PEER}
    body = {"email": person.email, "password": PASSWORD}
    login = client.post(API + "/auth/login", json=body, headers=headers, environ_base=environ)
    assert login.status_code == 200, login.text
    token = {"Authorization": "Bearer " + login.get_json()["access_token"]}
    sessions = client.get(API + "/auth/sessions", headers=token, environ_base=environ).get_json()["items"]
    return str(next(session["ip"] for session in sessions if session["current"]))


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, None, PEER),
        (0, "192.0.2.1", PEER),
        (0, "192.0.2.1, 192.0.2.2", PEER),
        (1, None, PEER),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (1, "6.6.6.6, 127.0.0.1, 192.0.2.1", "192.0.2.1"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "2001:DB8:0::1", "2001:db8::1"),
        (1, "203.0.113.9:51234", "203.0.113.9"),
        (1, "[2001:db8::1]:51234", "2001:db8::1"),
        (1, "64:ff9b::203.0.113.9", "203.0.113.9"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "64:ff9b:1::cb00:7109", "64:ff9b:1::cb00:7109"),
        (2, "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "10.0.0.2", PEER),
        (2, None, PEER),
    ],
)
def test_the_address_of_the_trusted_hop_is_used(
    behind: NewClient, alice: Person, hops: int, forwarded: str | None, expected: str
) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert address_of_login(behind(trusted_proxies=hops), alice, headers) == expected


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"])
@pytest.mark.parametrize("hops", [0, 1])
def test_other_headers_are_never_trusted(behind: NewClient, alice: Person, name: str, hops: int) -> None:
    value = "for=6.6.6.6" if name == "Forwarded" else "6.6.6.6"
    assert address_of_login(behind(trusted_proxies=hops), alice, {name: value}) == PEER


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_links_do_not_depend_on_the_host_of_the_request(behind: NewClient, alice: Person, hops: int) -> None:
    """Link and Location are paths, so that a forged Host or X-Forwarded-Host cannot lead to another host."""
    headers = alice.headers | {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "javascript",
        "X-Forwarded-Port": "666",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-For": "6.6.6.6",
        "X-Original-URL": "/evil",
        "X-Rewrite-URL": "/evil",
        "X-HTTP-Method-Override": "DELETE",
    }
    client = behind(trusted_proxies=hops)
    for _ in range(2):
        created = client.post(API + "/posts", json={"title": "T", "content": "C"}, headers=headers)
        assert created.headers["Location"] == f"{API}/posts/{created.get_json()['id']}"
    page = client.get(API + "/posts?limit=1&page=1", headers=headers)
    assert page.status_code == 200
    assert all(url.startswith(API + "/posts?") for url in links(page).values())
    assert "evil" not in page.headers["Link"]


@pytest.mark.parametrize(
    "garbage",
    [
        *("unknown", "x" * 500, "192.0.2.1:port", "[2001:db8::1", "[]:4711", "_hidden", "192.0.2.1 192.0.2.2"),
        *("'; DROP TABLE sessions; --", "é", "1\t2", "fe80::1%", "fe80::1%a%b"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_invalid_forwarding_headers_cause_no_error(behind: NewClient, alice: Person, garbage: str) -> None:
    headers = {"X-Forwarded-For": garbage.encode().decode("latin-1")}
    assert address_of_login(behind(trusted_proxies=1), alice, headers) == "unknown"
