"""SERVICE_PREFIX: all routes are below it, and the probes at both places."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.components import components_of
from gatepost.testing.applications import NewClient, clients
from tests.api.test_pagination import links
from tests.conftest import API, Person, problem

PREFIX = "/example"
POST = {"title": "T", "content": "C"}


@pytest.fixture(scope="module")
def lasting(shared_app: Flask) -> Iterator[NewClient]:
    """Return a function that makes clients of applications on the same database, which all tests use."""
    with clients(components_of(shared_app).settings) as make:
        yield make


@pytest.fixture
def prefixed(app: Flask, lasting: NewClient) -> FlaskClient:
    """A client of an application with a prefix, on the same database."""
    return lasting(service_prefix=PREFIX)


SERVED = [PREFIX + API + "/posts", "/metrics", "/health", "/health/ready", PREFIX, PREFIX + "/", PREFIX + "/problems"]
SERVED += [PREFIX + path for path in ("/problems/not-found", "/health", "/health/ready", "/metrics")]
MISSING = [
    API + "/posts",
    "/problems/not-found",
    "/problems",
    "/",
    PREFIX + "//",
    "/" + PREFIX,
    "/examplefoo" + API + "/posts",
]
MISSING += ["/examplefoo/health", "/exampl/health", "/EXAMPLE/health", PREFIX + PREFIX + "/health"]
MISSING += ["/other" + PREFIX + "/health", PREFIX + API + PREFIX + "/posts"]


@pytest.mark.parametrize(("path", "status"), [*((path, 200) for path in SERVED), *((path, 404) for path in MISSING)])
def test_the_paths_with_and_without_the_prefix(prefixed: FlaskClient, path: str, status: int) -> None:
    response = prefixed.get(path)
    assert response.status_code == status
    if status == 404:
        assert response.get_json()["type"] == PREFIX + "/problems/not-found"


def test_a_problem_s_type_resolves(prefixed: FlaskClient) -> None:
    url = prefixed.get(PREFIX + API + "/posts/999").get_json()["type"]
    page = prefixed.get(url)
    assert (page.status_code, page.mimetype) == (200, "text/html")


def test_locations_and_links_have_the_prefix(prefixed: FlaskClient, alice: Person) -> None:
    url = PREFIX + API + "/posts"
    for _ in range(2):
        created = prefixed.post(url, json=POST, headers=alice.headers | {"X-Forwarded-Prefix": "/evil"})
        assert created.headers["Location"].startswith(url + "/")
        assert prefixed.get(created.headers["Location"]).get_json() == created.get_json()
    first = prefixed.get(url + "?limit=1")
    assert links(first)["next"].startswith(url + "?limit=1&cursor=")
    assert prefixed.get(links(first)["next"]).status_code == 200


def test_a_cursor_of_another_prefix_is_refused(prefixed: FlaskClient, client: FlaskClient, alice: Person) -> None:
    for _ in range(2):
        alice.post("/posts", json=POST)
    cursor = client.get(API + "/posts?limit=1").get_json()["pagination"]["next_cursor"]
    assert problem_of(prefixed, f"/posts?cursor={cursor}") == (422, "validation_error")


def problem_of(client: FlaskClient, path: str) -> tuple[int, str]:
    """Return the status and the code of an error below the prefix."""
    document = client.get(PREFIX + API + path).get_json()
    return document["status"], document["code"]


def test_without_a_prefix_there_is_none(client: FlaskClient) -> None:
    assert problem(client.get(PREFIX + "/health")) == (404, "not_found")
    assert client.get(API + "/posts").status_code == 200


def test_accept_is_checked_below_a_prefix(prefixed: FlaskClient) -> None:
    response = prefixed.get(PREFIX + API + "/posts", headers={"Accept": "text/html"})
    assert response.status_code == 406
