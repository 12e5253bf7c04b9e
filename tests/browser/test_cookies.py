"""The app with the refresh token in an HttpOnly cookie."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from gatepost.testing.services.gatepost import GatepostServer
from tests.browser import steps
from tests.browser.conftest import build
from tests.browser.site import Site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(app: Site, api: GatepostServer) -> str:
    """The address of the app that was built for cookies."""
    build(app, api, "examples/spa", folder="cookie", VITE_TRANSPORT="cookie")
    return f"{app.url}cookie/"


def test_scripts_cannot_read_the_refresh_token(context: BrowserContext, url: str) -> None:
    page, other = context.new_page(), context.new_page()
    page.goto(url)
    email = steps.sign_up(page)
    assert steps.stored_session(page).keys() == {"version", "account", "csrfToken"}
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert page.evaluate("document.cookie") == ""
    # Each page refreshes when it is opened; a lock serializes this.
    other.goto(url)
    for tab in (page, other, page, other):
        tab.reload()
        expect(tab.get_by_role("banner").get_by_text("Maria Lindqvist")).to_be_visible()
    steps.publish(page, "Written by a page that has no refresh token")
    page.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("link", name="Sign in").first).to_be_visible()
    assert context.cookies() == []
    steps.sign_in(page, email)
