"""Steps of the browser tests: actions of a user, and checks of what the app shows."""

from __future__ import annotations

import itertools
import json
import os
import urllib.request
from typing import Any

from playwright.sync_api import Page, expect

from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API, PASSWORD, ROOT

SCREENSHOTS = ROOT / "var" / "screenshots"
# Checks a page by the Web Content Accessibility Guidelines.
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
NOTICES = "document.querySelector('.notices')"
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
_numbers = itertools.count(1)


def new_email() -> str:
    """Return a new email address."""
    return f"maria-{os.getpid()}-{next(_numbers)}@example.com"


def sign_up(page: Page, name: str = "Maria Lindqvist") -> str:
    """Sign up, and return the email address."""
    email = new_email()
    page.get_by_role("link", name="Sign up").first.click()
    form = page.get_by_role("form", name="Sign up")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Email").fill(email)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return email


def sign_in(page: Page, email: str) -> None:
    """Sign in, with the form on the page or through its link to the form."""
    if page.get_by_role("form", name="Sign in").count() == 0:
        page.get_by_role("link", name="Sign in").first.click()
    form = page.get_by_role("form", name="Sign in")
    form.get_by_label("Email").fill(email)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def write(page: Page, title: str, text: str, button: str = "Publish") -> None:
    """Write a post and send it."""
    page.get_by_role("button", name="Write a post…").click()
    form = page.get_by_role("form", name="New post")
    form.get_by_label("Title").fill(title)
    form.get_by_label("Text").fill(text)
    form.get_by_role("button", name=button, exact=True).click()


def publish(page: Page, title: str, text: str = "Some text.") -> None:
    """Publish a post and check that the list shows it."""
    write(page, title, text)
    expect(page.get_by_role("link", name=title)).to_be_visible()


def edit(page: Page, title: str, text: str) -> None:
    """Edit the post on the page."""
    page.get_by_role("button", name="Edit").click()
    form = page.get_by_role("form", name="Edit post")
    form.get_by_label("Title").fill(title)
    form.get_by_label("Text").fill(text)
    form.get_by_role("button", name="Save").click()


def visit(page: Page, name: str) -> None:
    """Open a page by its link and check its heading."""
    page.get_by_role("navigation").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def notice(page: Page, text: str) -> None:
    """Check that a notice with this text is shown."""
    expect(page.get_by_role("log").get_by_text(text).last).to_be_visible()


def stored_session(page: Page) -> dict[str, Any]:
    """Return the session record that the browser stores."""
    record = page.evaluate("JSON.parse(Object.values(localStorage)[0])")
    assert isinstance(record, dict)
    return record


def call(api: GatepostServer, method: str, path: str, token: str = "", body: object = None) -> Any:
    """Call the API without a browser, and return the JSON of a successful response."""
    request = urllib.request.Request(api.url + API + path, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def write_from_outside(api: GatepostServer, titles: list[str]) -> None:
    """Publish posts as another user, without a browser."""
    person = {"email": new_email(), "password": PASSWORD}
    call(api, "POST", "/auth/register", body={**person, "name": "A busy writer"})
    for start in range(0, len(titles), 5):
        # Access tokens expire after a few seconds here.
        token = call(api, "POST", "/auth/login", body=person)["access_token"]
        for title in titles[start : start + 5]:
            call(api, "POST", "/posts", token, {"title": title, "content": "…"})


def picture(page: Page, name: str) -> None:
    """Save screenshots for a phone and a desktop. Check accessibility, and that there is no horizontal scrolling."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate(f"{NOTICES}.hidden = true")
    for size in (PHONE, DESKTOP):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        path = SCREENSHOTS / f"{name}-{size['width']}.png"
        page.screenshot(path=path, animations="disabled")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.evaluate(f"{NOTICES}.hidden = false")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    assert not found, [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]
