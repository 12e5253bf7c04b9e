"""GET /problems/{name}: the pages that explain problems, to which the `type` of each problem document refers."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.api.errors import PROBLEMS
from tests.conftest import problem, settings_for

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
# Other tests import problems of features.
CORE = {code: kind for code, kind in PROBLEMS.items() if kind.__module__.startswith("app.")}
# Elements without an end tag.
VOID = {"meta", "link", "br", "input"}


@pytest.fixture(scope="module", params=["", "/example"])
def prefix(request: pytest.FixtureRequest) -> str:
    """SERVICE_PREFIX."""
    return str(request.param)


@pytest.fixture(scope="module")
def offline(prefix: str) -> FlaskClient:
    """A client of an application without a database connection."""
    return create_app(settings_for("sqlite:////nowhere/gatepost.db", service_prefix=prefix, features=())).test_client()


class Outline(HTMLParser):
    """Collects the tags of a page in their order; fails if they are not nested correctly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_problem_is_explained() -> None:
    for code, kind in CORE.items():
        assert kind.when.endswith("."), code
        assert kind.advice.endswith("."), code
    assert len({kind.when for kind in CORE.values()}) == len(CORE)


@pytest.mark.parametrize("code", CORE)
def test_each_problem_has_an_html_page(offline: FlaskClient, prefix: str, code: str) -> None:
    kind = CORE[code]
    response = offline.get(f"{prefix}/problems/{code.replace('_', '-')}", headers=BROWSER)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "Accept" in response.headers["Vary"]
    outline = Outline()
    outline.feed(response.text)
    assert outline.open == []
    assert [tag for tag in outline.seen if tag in ("main", "h1", "h2", "pre")] == [
        "main",
        "h1",
        "h2",
        "h2",
        "h2",
        "pre",
    ]
    assert not {"script", "form", "img", "iframe"} & {*outline.seen}
    shown = unescape(re.sub(r"<[^>]+>", "", response.text.partition("<main>")[2]))
    for text in (kind.title, str(kind.status), code, kind.when, kind.advice, '"request_id"'):
        assert text in shown, text


def test_the_page_s_policy_allows_its_style_sheet_only(offline: FlaskClient, prefix: str) -> None:
    from base64 import b64encode
    from hashlib import sha256

    response = offline.get(f"{prefix}/problems/not-found", headers=BROWSER)
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    rules = response.headers["Content-Security-Policy"].split("; ")
    assert rules[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert {*rules[2:]} == {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}


@pytest.mark.parametrize("code", CORE)
def test_each_problem_is_explained_in_json(offline: FlaskClient, prefix: str, code: str) -> None:
    path = f"{prefix}/problems/{code.replace('_', '-')}"
    response = offline.get(path, headers={"Accept": "application/json"})
    assert response.mimetype == "application/json"
    explained = response.get_json()
    assert (explained["type"], explained["code"], explained["status"]) == (path, code, CORE[code].status)
    assert explained["example"]["type"] == path
    assert ("errors" in explained["example"]) == (code == "validation_error")


def test_the_type_of_a_real_problem_is_the_path_of_its_page(client: FlaskClient) -> None:
    for refused in (client.get("/nowhere"), client.post("/api/v1/posts"), client.get("/health?surprise=1")):
        page = client.get(refused.get_json()["type"])
        assert page.status_code == 200
        assert refused.get_json()["title"] in page.text


@pytest.mark.parametrize("name", ["no-such-problem", "not_found", "Not-Found", "not-found/", "%3Cscript%3E", "%00"])
def test_an_unknown_problem_is_not_found(client: FlaskClient, name: str) -> None:
    assert problem(client.get(f"/problems/{name}")) == (404, "not_found")


NOT_BROWSERS = [None, "*/*", "application/json", "application/json, text/html;q=0.9", "image/png", ", ,"]


def page_of(client: FlaskClient, path: str) -> str:
    """Return the HTML form of a page, after checking that its tags are nested correctly and run nothing."""
    response = client.get(path, headers=BROWSER)
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "Accept" in response.headers["Vary"]
    assert "style-src 'sha256-" in response.headers["Content-Security-Policy"]
    outline = Outline()
    outline.feed(response.text)
    assert outline.open == []
    assert not {"script", "form", "img", "iframe"} & {*outline.seen}
    return response.text


def links_of(page: str) -> list[str]:
    """Return the targets of the links of a page."""
    return re.findall(r'href="([^"]+)"', page)


@pytest.mark.parametrize("path", ["/", "/problems"])
@pytest.mark.parametrize("accept", NOT_BROWSERS)
def test_programs_get_json(offline: FlaskClient, prefix: str, path: str, accept: str | None) -> None:
    response = offline.get(prefix + path, headers={} if accept is None else {"Accept": accept})
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert "Accept" in response.headers["Vary"]
    assert offline.head(prefix + path).status_code == 200
    assert problem_of(offline.post(prefix + path)) == (405, "method_not_allowed")


def problem_of(response: TestResponse) -> tuple[int, str]:
    """Return status and code; `problem` expects a service without prefix."""
    return response.status_code, response.get_json()["code"]


def test_the_root_names_the_service_and_its_documents(offline: FlaskClient, prefix: str) -> None:
    answer = offline.get(f"{prefix}/").get_json()
    assert answer.pop("name") == "Gatepost"
    assert answer.pop("api") == f"{prefix}/api/v1"
    assert answer.keys() == {"docs", "openapi", "health", "problems"}
    assert {offline.get(path).status_code for path in answer.values()} == {200}
    page = page_of(offline, f"{prefix}/")
    assert "<h1>Gatepost</h1>" in page
    assert {*links_of(page)} == {*answer.values()}


def test_the_root_does_not_link_docs_that_are_switched_off() -> None:
    client = create_app(settings_for("sqlite:////nowhere/gatepost.db", docs_enabled=False)).test_client()
    assert "docs" not in client.get("/").get_json()
    for path in ("/", "/problems"):
        assert "/docs" not in links_of(page_of(client, path))


def test_no_page_names_a_version(offline: FlaskClient, prefix: str) -> None:
    for path in ("/", "/problems"):
        for text in (page_of(offline, prefix + path), offline.get(prefix + path).text):
            assert not re.search(r"\b\d+\.\d+\.\d+\b", text)


def test_every_problem_is_listed(offline: FlaskClient, prefix: str) -> None:
    listed = offline.get(f"{prefix}/problems").get_json()["problems"]
    assert {item["code"] for item in listed} == CORE.keys()
    assert [item["status"] for item in listed] == sorted(item["status"] for item in listed)
    page = page_of(offline, f"{prefix}/problems")
    assert [path for path in links_of(page) if path != f"{prefix}/docs"] == [item["type"] for item in listed]
    for item in listed:
        assert item["when"] in unescape(page)


def test_the_docs_link_the_problems(offline: FlaskClient, prefix: str) -> None:
    assert "problems" in links_of(offline.get(f"{prefix}/docs").text)
