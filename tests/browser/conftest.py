"""Fixtures of the browser tests: Chromium, a web server with the built example app, and the API on another origin."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from tests.browser.site import Site
from tests.conftest import PATIENT, migrate
from tools import javascript, services

BUILD_SECONDS = 300
# The limit of each wait for an element. Long enough for a busy machine.
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)
# Long enough that a token is still valid when a request arrives, on a busy machine too.
ACCESS_SECONDS = 6
# Without these flags Chromium sends requests of its own in the background.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A web server for the app, whose folder is empty at first."""
    with Site() as site:
        yield site


@pytest.fixture(scope="session")
def api(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatepostServer]:
    """The API, with access tokens that expire after a few seconds. Only the origin of the app may call it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'gatepost.db'}"
    migrate(url)
    environment = {
        "DATABASE_URL": url,
        "RATELIMIT_ENABLED": "false",
        "CORS_ORIGINS": site.origin,
        "ACCESS_TOKEN_SECONDS": str(ACCESS_SECONDS),
    }
    with GatepostServer({**PATIENT, **environment}, "tests.support.short_tokens:app") as server:
        yield server


@pytest.fixture(scope="session")
def app(site: Site, api: GatepostServer) -> Site:
    """The web server with the built app, and the client beside it."""
    build(site, api, "examples/spa")
    build(site, api, "clients/typescript", folder="client")
    shutil.copy(Path(__file__).with_name("tab.html"), site.folder / "app")
    return site


def build(site: Site, api: GatepostServer, workspace: str, *, folder: str = "", **environment: str) -> None:
    """Build a workspace into a folder of the web server, for this API."""
    try:
        npm = javascript.find_npm()
    except javascript.NodeMissing as error:
        skip_or_fail(ServiceMissing(str(error)))
    javascript.install()
    javascript.run(
        [npm, "run", "build", "--workspace", workspace, "--", "--outDir", str(site.folder / "app" / folder)],
        timeout_seconds=BUILD_SECONDS,
        environment={"VITE_API_URL": api.url, **environment},
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The installed Chromium."""
    program = services.locate("chromium")
    if program is None:
        skip_or_fail(ServiceMissing(services.COMPONENTS["chromium"].advice))
    # With the scope of a module, because Playwright runs an event loop in this thread until it is closed.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program.path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A new browser profile, with the window size of a desktop."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800},
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(TIMEOUT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app: Site) -> Page:
    """A tab with the app."""
    page = context.new_page()
    page.goto(app.url)
    return page
