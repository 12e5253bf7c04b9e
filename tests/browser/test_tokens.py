"""Tokens in a browser: expiry, concurrent refreshes of tabs, theft, revocation on another device."""

from __future__ import annotations

import urllib.error

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from gatepost.testing.races import Arena
from gatepost.testing.services.gatepost import GatepostServer
from tests.browser import steps
from tests.browser.conftest import ACCESS_SECONDS
from tests.browser.site import Site

pytestmark = pytest.mark.slow
ROUNDS = 100
REFRESH = "async (rounds) => { for (let i = 0; i < rounds; i++) await client.auth.renew(); }"
SEES = "(version) => JSON.parse(Object.values(localStorage)[0]).version >= version"
ENDED = "Your session has ended."


def wait_for_expiry(page: Page) -> None:
    """Wait until the access token of a page has expired."""
    page.wait_for_timeout((ACCESS_SECONDS + 1) * 1000)


def test_an_expired_access_token_is_refreshed(page: Page) -> None:
    steps.sign_up(page)
    seen: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if response.request.method == "POST":
            seen.append((response.url.rpartition("/")[2], response.status))

    page.on("response", note)
    wait_for_expiry(page)
    steps.publish(page, "Written after the token had expired")
    assert seen == [("posts", 401), ("refresh", 200), ("posts", 201)]


def test_a_reload_keeps_the_session_and_not_the_access_token(page: Page) -> None:
    steps.sign_up(page)
    assert "accessToken" not in steps.stored_session(page)
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("banner").get_by_text("Maria Lindqvist")).to_be_visible()


@pytest.mark.parametrize(("kind", "rounds"), [("", 10), ("&old", 1)], ids=["with locks and channels", "without both"])
def test_a_hundred_concurrent_refreshes_of_two_tabs(
    page: Page, context: BrowserContext, app: Site, api: GatepostServer, kind: str, rounds: int
) -> None:
    steps.sign_up(page)
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(f"{app.url}tab.html?api={api.url}{kind}")
        tab.wait_for_function("window.client?.session.status === 'signed_in'")
    for _ in range(ROUNDS // rounds):
        for tab in tabs:
            tab.evaluate(f"void (window.done = ({REFRESH})({rounds}))")
        for tab in tabs:
            tab.evaluate("window.done")
        # In practice minutes pass between two refreshes. Here, wait until each tab sees what the other has stored.
        newest = max(steps.stored_session(tab)["version"] for tab in tabs)
        for tab in tabs:
            tab.wait_for_function(SEES, arg=newest)
    assert sum(tab.evaluate("window.refreshes") for tab in tabs) >= ROUNDS
    for tab in tabs:
        assert tab.evaluate("client.auth.me().then((answer) => answer.status)") == 200
        assert tab.evaluate("client.session.status") == "signed_in"
    # The app was open all the time, and uses the tokens that the other tabs have fetched.
    steps.publish(page, f"Still here {kind}")


def test_a_stolen_refresh_token_that_is_replayed_ends_the_session(
    page: Page, context: BrowserContext, api: GatepostServer, app: Site
) -> None:
    steps.sign_up(page)
    stolen = steps.stored_session(page)["refreshToken"]
    other = context.new_page()
    for _ in range(2):
        other.goto(app.url)
        other.reload()
        expect(other.get_by_role("banner").get_by_text("Maria Lindqvist")).to_be_visible()
    assert steps.stored_session(page)["refreshToken"] != stolen
    # Past the grace period.
    Arena.of(api).age_rotations(300)
    with pytest.raises(urllib.error.HTTPError) as refused:
        steps.call(api, "POST", "/auth/refresh", token=stolen)
    assert refused.value.code == 401
    refused.value.close()

    page.get_by_role("navigation").get_by_role("link", name="Devices").click()
    for tab in (page, other):
        expect(tab.get_by_role("alert")).to_contain_text(ENDED)
        expect(tab.get_by_role("form", name="Sign in")).to_be_visible()
    steps.picture(page, "session-ended")
    assert "refreshToken" not in steps.stored_session(page)


def test_a_session_is_ended_on_another_device(page: Page, chromium: Browser, app: Site) -> None:
    email = steps.sign_up(page)
    with chromium.new_context(user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) Safari/604.1") as elsewhere:
        phone = elsewhere.new_page()
        phone.goto(app.url)
        steps.sign_in(phone, email)
        steps.visit(page, "Devices")
        expect(page.get_by_role("list", name="Sessions").get_by_role("listitem")).to_have_count(2)
        steps.picture(page, "devices")
        page.get_by_role("button", name="End: Safari on iPhone").click()
        steps.notice(page, "The session has ended.")
        expect(page.get_by_role("list", name="Sessions").get_by_role("listitem")).to_have_count(1)
        phone.get_by_role("navigation").get_by_role("link", name="Profile").click()
        expect(phone.get_by_role("alert")).to_contain_text(ENDED)
        steps.sign_in(phone, email)


def test_signing_out_signs_out_every_tab(page: Page, context: BrowserContext, app: Site) -> None:
    steps.sign_up(page)
    other = context.new_page()
    other.goto(app.url)
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
    expect(page.get_by_text(ENDED)).to_have_count(0)
