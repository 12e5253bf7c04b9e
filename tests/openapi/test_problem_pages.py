"""GET /problems/{name}: the `type` of every problem leads to a page that explains it."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.api.errors import KINDS
from app.openapi.explanations import EXPLANATIONS
from tests.conftest import problem, settings_for

# Tags that HTML closes by itself.
VOID = {"meta", "link", "br", "input"}


@pytest.fixture(scope="module", params=["", "/example"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Where all is served."""
    return str(request.param)


@pytest.fixture(scope="module")
def offline(prefix: str) -> FlaskClient:
    """A client of an application that opens no connection."""
    return create_app(settings_for("sqlite:////nowhere/gatepost.db", service_prefix=prefix)).test_client()


class Outline(HTMLParser):
    """The tags of a page in their order; fails when they don't close in turn."""

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


def test_every_problem_is_explained_and_nothing_else() -> None:
    assert EXPLANATIONS.keys() == KINDS.keys()
    for code, (when, advice) in EXPLANATIONS.items():
        assert when.endswith("."), code
        assert advice.endswith("."), code
    assert len({explanation.when for explanation in EXPLANATIONS.values()}) == len(KINDS)


@pytest.mark.parametrize("code", KINDS)
def test_a_person_finds_the_page_of_each_problem(offline: FlaskClient, prefix: str, code: str) -> None:
    kind, explanation = KINDS[code], EXPLANATIONS[code]
    response = offline.get(f"{prefix}/problems/{code.replace('_', '-')}", headers={"Accept": "text/html,*/*;q=0.8"})
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
    for text in (kind.title, str(kind.status), code, explanation.when, explanation.advice, '"request_id"'):
        assert text in shown, text


def test_the_page_may_do_nothing_but_show_its_style(offline: FlaskClient, prefix: str) -> None:
    from base64 import b64encode
    from hashlib import sha256

    response = offline.get(f"{prefix}/problems/not-found")
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    rules = response.headers["Content-Security-Policy"].split("; ")
    assert rules[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert {*rules[2:]} == {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}


@pytest.mark.parametrize("code", KINDS)
def test_a_program_gets_the_same_as_json(offline: FlaskClient, prefix: str, code: str) -> None:
    path = f"{prefix}/problems/{code.replace('_', '-')}"
    response = offline.get(path, headers={"Accept": "application/json"})
    assert response.mimetype == "application/json"
    told = response.get_json()
    assert (told["type"], told["code"], told["status"]) == (path, code, KINDS[code].status)
    assert told["example"]["type"] == path
    assert ("errors" in told["example"]) == (code == "validation_error")


def test_the_type_of_a_real_problem_leads_there(client: FlaskClient) -> None:
    for refused in (client.get("/nowhere"), client.post("/api/v1/posts"), client.get("/health?surprise=1")):
        page = client.get(refused.get_json()["type"])
        assert page.status_code == 200
        assert refused.get_json()["title"] in page.text


@pytest.mark.parametrize("name", ["no-such-problem", "not_found", "Not-Found", "not-found/", "%3Cscript%3E", "%00"])
def test_an_unknown_problem_is_not_found(client: FlaskClient, name: str) -> None:
    assert problem(client.get(f"/problems/{name}")) == (404, "not_found")
