"""The app while the service is unreachable, in maintenance, or does not allow its origin."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.process import bare_environment
from tests.browser import steps
from tests.browser.site import Site
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def banner(page: Page, text: str) -> None:
    """Check that the banner shows this text."""
    expect(page.get_by_role("status").get_by_text(text)).to_be_visible()


def no_banner(page: Page) -> None:
    """Check that the banner disappears without an action of the user."""
    expect(page.locator(".banner")).to_have_count(0)


def test_the_server_restarts_while_the_page_is_open(page: Page, api: GatepostServer) -> None:
    steps.sign_up(page)
    api.stop()
    try:
        steps.write(page, "Written during a restart", "It waits.")
        banner(page, "The service cannot be reached.")
        expect(page.get_by_text("Not sent yet.")).to_be_visible()
        steps.picture(page, "unreachable")
    finally:
        api.start()
    no_banner(page)
    page.get_by_role("article").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="Written during a restart")).to_have_count(1)
    steps.visit(page, "Devices")


def test_a_change_made_offline_is_kept_until_it_can_be_saved(page: Page, context: BrowserContext) -> None:
    steps.sign_up(page)
    steps.publish(page, "Before the tunnel")
    page.get_by_role("link", name="Before the tunnel").click()
    expect(page.get_by_role("heading", level=1, name="Before the tunnel")).to_be_visible()
    context.set_offline(True)
    banner(page, "You are offline.")
    steps.edit(page, "In the tunnel", "Written without a connection.")
    expect(page.get_by_role("heading", level=1, name="In the tunnel")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("Your change is not saved yet.")
    context.set_offline(False)
    no_banner(page)
    page.get_by_role("button", name="Save again").click()
    steps.notice(page, "Saved.")
    page.reload()
    expect(page.get_by_role("heading", level=1, name="In the tunnel")).to_be_visible()


@contextmanager
def maintenance(api: GatepostServer) -> Iterator[None]:
    """Switch maintenance mode on with the command, and off at the end of the block."""
    environment = {
        **bare_environment(),
        "APP_ENV": "testing",
        "DATABASE_URL": api.database_url,
        "JWT_SECRET_KEY": "k" * 20 + "0123456789abcdef",
    }

    def switch(state: str) -> None:
        command = [sys.executable, "-m", "flask", "--app", "run", "maintenance", state]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)

    switch("on")
    try:
        yield
    finally:
        switch("off")


def test_maintenance_is_reported_and_its_end_is_noticed(page: Page, api: GatepostServer) -> None:
    steps.sign_up(page)
    with maintenance(api):
        page.wait_for_timeout(1500)  # every worker notices it within a second
        page.get_by_role("button", name="Refresh").click()
        banner(page, "Retrying…")
        steps.picture(page, "maintenance")
    no_banner(page)
    steps.publish(page, "After the maintenance")


def test_the_app_on_another_origin_cannot_call_the_api(context: BrowserContext, app: Site, api: GatepostServer) -> None:
    with Site(app.folder) as foreign:
        page = context.new_page()
        messages: list[str] = []
        page.on("console", lambda message: messages.append(message.text))
        page.goto(foreign.url)
        banner(page, "The service cannot be reached.")
        assert any("blocked by CORS policy" in text for text in messages)
        # Nor can a simple request, which needs no preflight.
        page.goto(f"{foreign.url}tab.html")
        reading = "(url) => fetch(url).then((answer) => answer.status, (error) => error.name)"
        assert page.evaluate(reading, f"{api.url}/health") == "TypeError"
        page.goto(f"{app.url}tab.html")
        assert page.evaluate(reading, f"{api.url}/health") == 200
