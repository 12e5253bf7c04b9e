"""/docs in a browser: its security policy, requests to no other origin, signing in and authorized calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from gatepost.testing.services.gatepost import GatepostServer
from tests.browser.conftest import ACCESS_SECONDS, TIMEOUT_MS
from tests.conftest import PASSWORD

pytestmark = pytest.mark.slow


class PageLog:
    """The errors that a page logs, and the origins of its requests."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.origins: set[str] = set()
        page.on("console", self._record_error)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._record_origin)

    def _record_error(self, message: ConsoleMessage) -> None:
        # The browser logs every 4xx response as an error; the tests cause some on purpose.
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.errors.append(message.text)

    def _record_origin(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.origins.add("/".join(request.url.split("/")[:3]))


@pytest.fixture
def page_log(page: Page) -> PageLog:
    """The log of the page, from its start."""
    return PageLog(page)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A new tab."""
    page = context.new_page()
    yield page
    page.close()


def operation(page: Page, name: str) -> Locator:
    """Open the block of an operation and return it."""
    block = page.locator(f"[id$='-{name}']")
    block.locator(".opblock-summary-control").click()
    return block


def execute(block: Locator, status: int) -> Locator:
    """Execute the operation and return the element with its response."""
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table")
    expect(live.locator("tbody .response-col_status").first).to_contain_text(str(status), timeout=TIMEOUT_MS)
    return live


def register(page: Page, api: GatepostServer, email: str) -> None:
    """Register by executing the operation of the page."""
    block = operation(page, "register")
    block.locator("textarea").fill(f'{{"email": "{email}", "name": "Maria", "password": "{PASSWORD}"}}')
    execute(block, 201)
    expect(page.locator("#user-name")).to_have_text("Maria")


def test_a_new_user_registers_and_stays_signed_in(page: Page, page_log: PageLog, api: GatepostServer) -> None:
    page.goto(api.url + "/docs")
    me = operation(page, "get_me")
    execute(me, 401)
    register(page, api, "maria@example.com")
    expect(execute(me, 200)).to_contain_text("maria@example.com")
    page.reload()
    expect(page.locator("#user-name")).to_have_text("Maria")
    # Longer than the lifetime of an access token: the page must have refreshed it.
    page.wait_for_timeout(ACCESS_SECONDS * 1000 + 500)
    expect(execute(operation(page, "get_me"), 200)).to_contain_text("maria@example.com")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("form", name="Sign in")).to_be_visible()
    execute(page.locator("[id$='-get_me']"), 401)
    assert page_log.errors == []
    assert page_log.origins == {api.url}


def test_the_form_signs_in_and_reports_errors(page: Page, page_log: PageLog, api: GatepostServer) -> None:
    page.goto(api.url + "/docs")
    register(page, api, "otto@example.com")
    page.get_by_role("button", name="Sign out").click()
    form = page.get_by_role("form", name="Sign in")
    form.get_by_label("Email").fill("otto@example.com")
    form.get_by_label("Password").fill("not the password")
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_have_text("The email or the password is wrong.")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(page.locator("#user-name")).to_have_text("Maria")
    post = operation(page, "create_post")
    expect(execute(post, 201)).to_contain_text("published")
    assert page_log.errors == []
    assert page_log.origins == {api.url}
