"""The page at /docs in a real browser: under its policy, without a network, it signs in and makes authorised calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.browser.conftest import ACCESS_SECONDS, PATIENCE_MS
from tests.conftest import PASSWORD
from tests.support.services.gatepost import GatepostServer

pytestmark = pytest.mark.slow


class Told:
    """What the page complained of, and where it went."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.origins: set[str] = set()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        # A 401 that a call was answered with is told here too.
        if message.type == "error" and "the server responded with a status of 4" not in message.text:
            self.errors.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.origins.add("/".join(request.url.split("/")[:3]))


@pytest.fixture
def told(page: Page) -> Told:
    """What the page tells, from its beginning."""
    return Told(page)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; errors of its scripts are the test's."""
    page = context.new_page()
    yield page
    page.close()


def operation(page: Page, name: str) -> Locator:
    """The block of an operation, opened."""
    block = page.locator(f"[id$='-{name}']")
    block.locator(".opblock-summary-control").click()
    return block


def execute(block: Locator, status: int) -> Locator:
    """Make the call and return what is shown of its answer."""
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table")
    expect(live.locator("tbody .response-col_status").first).to_contain_text(str(status), timeout=PATIENCE_MS)
    return live


def register(page: Page, api: GatepostServer, email: str) -> None:
    """Make an account by the operation of the document."""
    block = operation(page, "register")
    block.locator("textarea").fill(f'{{"email": "{email}", "name": "Maria", "password": "{PASSWORD}"}}')
    execute(block, 201)
    expect(page.locator("#user-name")).to_have_text("Maria")


def test_a_newcomer_registers_calls_and_stays_signed_in(page: Page, told: Told, api: GatepostServer) -> None:
    page.goto(api.url + "/docs")
    me = operation(page, "get_me")
    execute(me, 401)
    register(page, api, "maria@example.com")
    expect(execute(me, 200)).to_contain_text("maria@example.com")
    page.reload()
    expect(page.locator("#user-name")).to_have_text("Maria")
    # Longer than an access token lives here: the page must have refreshed it by itself.
    page.wait_for_timeout(ACCESS_SECONDS * 1000 + 500)
    expect(execute(operation(page, "get_me"), 200)).to_contain_text("maria@example.com")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("form", name="Sign in")).to_be_visible()
    execute(page.locator("[id$='-get_me']"), 401)
    assert told.errors == []
    assert told.origins == {api.url}


def test_the_form_signs_in_and_tells_what_is_wrong(page: Page, told: Told, api: GatepostServer) -> None:
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
    assert told.errors == []
    assert told.origins == {api.url}
