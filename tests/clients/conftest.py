"""Fixtures of the JavaScript tests: Node and the locked packages."""

from __future__ import annotations

import pytest

from gatepost.testing.services import ServiceMissing, skip_or_fail
from tools import javascript


@pytest.fixture(scope="session")
def npm() -> str:
    """The path of npm, with the locked packages installed."""
    try:
        found = javascript.find_npm()
    except javascript.NodeMissing as error:
        skip_or_fail(ServiceMissing(str(error)))
    javascript.install()
    return found
