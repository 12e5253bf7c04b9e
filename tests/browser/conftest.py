"""What browser tests need: Chromium, the built app served as files, and the API behind it on an origin of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.site import Site
from tests.conftest import PATIENT, migrate
from tests.support.services import ServiceMissing, skip_or_fail
from tests.support.services.gatepost import GatepostServer
from tools import javascript, services

BUILD_SECONDS = 300
# On a busy machine a test waits; a page that is wrong stays wrong.
PATIENCE_MS = 30_000
ACCESS_SECONDS = 3
# Chromium looks for its maker's services in the background otherwise.
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
    """The origin of the app; its files come once they are built."""
    with Site() as site:
        yield site


@pytest.fixture(scope="session")
def api(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatepostServer]:
    """The API, whose access tokens live for seconds and which lets the app's origin alone call it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'gatepost.db'}"
    migrate(url)
    environment = {
        "DATABASE_URL": url,
        "RATELIMIT_ENABLED": "false",
        "CORS_ORIGINS": site.origin,
        "HASTY_ACCESS_SECONDS": str(ACCESS_SECONDS),
    }
    with GatepostServer({**PATIENT, **environment}, "tests.support.hasty:app") as server:
        yield server


@pytest.fixture(scope="session")
def app(site: Site, api: GatepostServer) -> Site:
    """The built app, served beside the client it is made with."""
    build(site, api, "examples/spa")
    build(site, api, "clients/typescript", folder="client")
    shutil.copy(Path(__file__).with_name("tab.html"), site.folder / "app")
    return site


def build(site: Site, api: GatepostServer, workspace: str, *, folder: str = "", **environment: str) -> None:
    """Build a workspace into a folder of the site, for this API."""
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
    """Debian's Chromium."""
    program = services.locate("chromium")
    if program is None:
        skip_or_fail(ServiceMissing(services.COMPONENTS["chromium"].advice))
    # Not for longer than a module: while it is there, an event loop runs in this thread.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program.path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that nobody has used, the size of a desk."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800},
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app: Site) -> Page:
    """A tab with the app in it."""
    page = context.new_page()
    page.goto(app.url)
    return page
