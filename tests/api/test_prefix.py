"""SERVICE_PREFIX: all routes are below it, and the probes at both places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.components import components_of
from app.database import db
from tests.api.test_pagination import links
from tests.conftest import API, Person, problem

PREFIX = "/example"
POST = {"title": "T", "content": "C"}


@pytest.fixture
def prefixed(app: Flask) -> Iterator[FlaskClient]:
    """A client of an application with a prefix, on the same database."""
    other = create_app(replace(components_of(app).settings, service_prefix=PREFIX))
    yield other.test_client()
    with other.app_context():
        db.engine.dispose()
        components_of(other).probe_engine.dispose()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PREFIX + API + "/posts", 200),
        (PREFIX + "/problems/not-found", 200),
        (PREFIX + "/health", 200),
        (PREFIX + "/health/ready", 200),
        (PREFIX + "/metrics", 200),
        ("/metrics", 200),
        ("/health", 200),
        ("/health/ready", 200),
        (API + "/posts", 404),
        ("/problems/not-found", 404),
        ("/", 404),
        (PREFIX, 404),
        (PREFIX + "/", 404),
        ("/examplefoo" + API + "/posts", 404),
        ("/examplefoo/health", 404),
        ("/exampl/health", 404),
        ("/EXAMPLE/health", 404),
        (PREFIX + PREFIX + "/health", 404),
        ("/other" + PREFIX + "/health", 404),
        (PREFIX + API + PREFIX + "/posts", 404),
    ],
)
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
