"""Tests that docs/openapi.json, from which clients are generated, is current."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.openapi.commands import FILE
from tests.conftest import settings_for


@pytest.fixture(scope="module")
def offline() -> Flask:
    """An application without a database connection, and with the built-in features only, as the file."""
    return create_app(settings_for("sqlite:////nowhere/gatepost.db", features=()))


def test_the_command_writes_the_committed_file(offline: Flask, tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    result = offline.test_cli_runner().invoke(args=["openapi", "write", str(path)])
    assert (result.exit_code, result.output) == (0, f"Wrote {path}.\n")
    # Compared outside of the assertion, because pytest would print both files.
    is_current = path.read_bytes() == FILE.read_bytes()
    assert is_current, "docs/openapi.json differs from the code: run `make openapi`"


def test_the_application_serves_the_committed_file(offline: Flask) -> None:
    is_same = offline.test_client().get("/openapi.json").get_json() == json.loads(FILE.read_text(encoding="utf-8"))
    assert is_same, "docs/openapi.json differs from the served document: run `make openapi`"


def test_a_missing_folder_is_reported(offline: Flask, tmp_path: Path) -> None:
    result = offline.test_cli_runner().invoke(args=["openapi", "write", str(tmp_path / "nowhere" / "openapi.json")])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "nowhere" in result.output
