"""Paths that are no routes: other spellings of a path are not found. gatepost/testing/checks tests the routes."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from app import create_app
from tests.conftest import problem, settings_for

UNOPENED = "sqlite:////nowhere/gatepost.db"


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/posts",
        "///api/v1/posts",
        "//health",
        "//metrics",
        "//openapi.json",
        "/api//v1/posts",
        "/api/v1//posts",
        "/api/v1/posts/",
        "/./api/v1/posts",
        "/x/../api/v1/posts",
        "/api/./v1/posts",
        "/\\api/v1/posts",
        "/API/v1/posts",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_another_spelling_of_a_path_is_a_foreign_path(path: str, method: str) -> None:
    client = create_app(settings_for(UNOPENED)).test_client()
    # As servers pass paths on; the test client would resolve some.
    response = client.open(method=method, environ_overrides={"PATH_INFO": path})
    assert response.status_code == 404
    if method != "HEAD":
        assert problem(response) == (404, "not_found")


def test_a_double_slash_before_the_prefix_is_a_foreign_path() -> None:
    client = create_app(settings_for(UNOPENED, service_prefix="/example")).test_client()
    assert client.get("/example/health").status_code == 200
    for path in ("//example/health", "/example//health", "//health"):
        assert problem_at(client, path) == 404


def problem_at(client: FlaskClient, path: str) -> int:
    """Return the status of a GET, after checking that it is a problem document."""
    response = client.get(environ_overrides={"PATH_INFO": path})
    assert response.mimetype == "application/problem+json"
    return response.status_code


def test_a_double_slash_is_counted_by_the_rate_limit() -> None:
    settings = settings_for(UNOPENED, ratelimit_enabled=True, ratelimit_default="2 per minute")
    client = create_app(settings).test_client()
    statuses = [client.get(environ_overrides={"PATH_INFO": "//health"}).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
