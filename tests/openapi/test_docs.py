"""Tests of /docs and its files: headers, Content-Security-Policy and links. tests/browser tests the page itself."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.openapi import problem_pages
from app.openapi.views import POLICY
from tests.conftest import Person, problem, settings_for

UNOPENED = "sqlite:////nowhere/gatepost.db"
MEDIA_TYPES = {
    "/docs": "text/html",
    "/docs/page.js": "text/javascript",
    "/docs/page.css": "text/css",
    "/docs/swagger-ui-bundle.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
}


@pytest.fixture(scope="module", params=["", "/example"])
def prefix(request: pytest.FixtureRequest) -> str:
    """The service prefix."""
    return str(request.param)


@pytest.fixture(scope="module")
def offline(prefix: str) -> FlaskClient:
    """A client of an application without a database connection."""
    return create_app(settings_for(UNOPENED, service_prefix=prefix)).test_client()


@pytest.mark.parametrize("path", MEDIA_TYPES)
def test_each_file_has_its_type_policy_and_entity_tag(offline: FlaskClient, prefix: str, path: str) -> None:
    response = offline.get(prefix + path)
    assert (response.status_code, response.mimetype) == (200, MEDIA_TYPES[path])
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    again = offline.get(prefix + path, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"] == POLICY


def test_the_page_has_no_inline_code_and_links_only_to_existing_files(offline: FlaskClient, prefix: str) -> None:
    page = offline.get(prefix + "/docs").text
    assert not re.search(r"<style|style=|\son\w+=|javascript:", page)
    assert re.findall(r"<script(?! src=)", page) == []
    named = re.findall(r'(?:src|href)="(?!data:,)([^"]+)"', page)
    assert len(named) == 6
    for name in named:
        # The links are relative to /docs, so that they work with a prefix.
        assert offline.get(f"{prefix}/{name}").status_code == 200, name


def test_our_files_refer_to_no_other_origin(offline: FlaskClient, prefix: str) -> None:
    for path in ("/docs", "/docs/page.js", "/docs/page.css"):
        assert "//" not in re.sub(r"^\s*//.*$", "", offline.get(prefix + path).text, flags=re.MULTILINE)


def test_only_the_page_allows_scripts(alice: Person) -> None:
    for path in ("/openapi.json", "/health", "/api/v1/posts", "/docs/nothing", "/problems/not-found"):
        policy = alice.client.get(path).headers.get("Content-Security-Policy", "")
        assert "script-src" not in policy, path


def test_the_page_can_be_disabled() -> None:
    client = create_app(settings_for(UNOPENED, docs_enabled=False)).test_client()
    for path in MEDIA_TYPES:
        assert problem(client.get(path)) == (404, "not_found")
    document = client.get("/openapi.json").get_json()
    assert not [path for path in document["paths"] if path.startswith("/docs")]
    assert "../docs" not in client.get("/problems/not-found").text


def test_no_other_path_serves_a_file(offline: FlaskClient, prefix: str) -> None:
    for path in ("/docs/", "/docs/page.html", "/docs/../openapi.json", "/docs/swagger-ui.js", "/docs/__init__.py"):
        assert offline.get(prefix + path).status_code == 404, path


def test_the_policies_of_all_pages_allow_only_this_origin_and_no_inline_scripts() -> None:
    allowed = {
        "style-src": {"'self'"},
        "script-src": {"'self'"},
        "connect-src": {"'self'"},
        "img-src": {"'self'", "data:"},
    }
    for policy in (POLICY, problem_pages.POLICY):
        directives = {name: set(sources) for name, *sources in (part.split() for part in policy.split(";"))}
        for closed in ("default-src", "base-uri", "form-action", "frame-ancestors"):
            assert directives.pop(closed) == {"'none'"}
        for name, sources in directives.items():
            hashes = {source for source in sources if source.startswith("'sha256-")}
            assert sources - hashes <= allowed[name], name
