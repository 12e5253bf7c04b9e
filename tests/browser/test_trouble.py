"""The app when the service is away, busy or not for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser import steps
from tests.browser.site import Site
from tests.conftest import ROOT
from tests.support.services.gatepost import GatepostServer
from tests.support.services.process import bare_environment

pytestmark = pytest.mark.slow


def banner(page: Page, text: str) -> None:
    """See a sentence about the connection."""
    expect(page.get_by_role("status").get_by_text(text)).to_be_visible()


def no_banner(page: Page) -> None:
    """See that all is well again, without having done anything for it."""
    expect(page.locator(".banner")).to_have_count(0)


def test_the_server_restarts_while_the_page_is_open(page: Page, api: GatepostServer) -> None:
    steps.sign_up(page)
    api.stop()
    try:
        steps.write(page, "Written while nobody listened", "It waits.")
        banner(page, "The service can’t be reached.")
        expect(page.get_by_text("Not sent yet.")).to_be_visible()
        steps.picture(page, "unreachable")
    finally:
        api.start()
    no_banner(page)
    page.get_by_role("article").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="Written while nobody listened")).to_have_count(1)
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
    expect(page.get_by_role("alert")).to_contain_text("Not saved yet.")
    context.set_offline(False)
    no_banner(page)
    page.get_by_role("button", name="Save again").click()
    steps.notice(page, "Saved.")
    page.reload()
    expect(page.get_by_role("heading", level=1, name="In the tunnel")).to_be_visible()


@contextmanager
def maintenance(api: GatepostServer) -> Iterator[None]:
    """Shut the service for the length of the block, as an operator would."""
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


def test_maintenance_is_told_and_waited_for(page: Page, api: GatepostServer) -> None:
    steps.sign_up(page)
    with maintenance(api):
        page.wait_for_timeout(1500)  # every worker knows within a second
        page.get_by_role("button", name="Refresh").click()
        banner(page, "This page keeps trying.")
        steps.picture(page, "maintenance")
    no_banner(page)
    steps.publish(page, "After the maintenance")


def test_the_app_on_a_foreign_origin_gets_nothing(context: BrowserContext, app: Site, api: GatepostServer) -> None:
    with Site(app.folder) as foreign:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(foreign.url)
        banner(page, "The service can’t be reached.")
        assert any("blocked by CORS policy" in text for text in said)
        # Not even to a script that asks for nothing that has to be asked for first.
        page.goto(f"{foreign.url}tab.html")
        reading = "(url) => fetch(url).then((answer) => answer.status, (error) => error.name)"
        assert page.evaluate(reading, f"{api.url}/health") == "TypeError"
        page.goto(f"{app.url}tab.html")
        assert page.evaluate(reading, f"{api.url}/health") == 200
