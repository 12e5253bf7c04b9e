"""Fixtures of the tests of app/security."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    """The application, in its context: counters in the database need one."""
    with app.app_context():
        yield app
