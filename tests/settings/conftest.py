"""Isolates each test of the settings from the environment and the files of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import environment
from tests.settings.support import NAMES


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Remove all settings from the environment, and use an empty folder as the project's."""
    for name in [*os.environ]:
        if name in NAMES or name.removesuffix("_FILE") in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "DEVELOPMENT_SECRETS", tmp_path / "var" / "dev.env")
    before = dict(os.environ)
    yield
    # In development load_settings() adds the variables of the files to the environment.
    os.environ.clear()
    os.environ.update(before)
