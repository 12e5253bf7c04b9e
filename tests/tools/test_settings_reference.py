"""tools/settings_reference.py: .env.example and the table in docs/operations.md agree with the declarations."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from app.settings import load_settings
from app.settings.declarations import DECLARATIONS
from tools.settings_reference import EXAMPLE, GUIDE, render_example, render_guide, render_table

NAMES = [name.upper() for name in DECLARATIONS]
REQUIRED = {
    "DATABASE_URL": "postgresql://gatepost:x@db.internal/gatepost",
    "JWT_SECRET_KEY": "kX3-0123456789abcdefghijklmnopqrstuv",
    "CORS_ORIGINS": "https://app.example.com",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings from the environment."""
    for name in [*os.environ]:
        if name in NAMES or name.removesuffix("_FILE") in NAMES:
            monkeypatch.delenv(name)


@pytest.mark.parametrize("path", [EXAMPLE, GUIDE], ids=lambda path: path.name)
def test_the_generated_files_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == (render_example() if path == EXAMPLE else render_guide(text)), "run `make settings`"


def test_a_guide_without_the_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="has no table"):
        render_guide("no table")


def test_the_example_shows_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict(re.findall(r"^#([A-Z][A-Z_]+)=(.*)$", render_example(), re.MULTILINE))
    assert [*shown] == NAMES
    # "testing" has the defaults of development, without .env and the generated key.
    monkeypatch.setenv("APP_ENV", "testing")
    monkeypatch.setenv("JWT_SECRET_KEY", REQUIRED["JWT_SECRET_KEY"])
    defaults = load_settings()
    for name in shown.keys() - {"APP_ENV", "JWT_SECRET_KEY"}:
        monkeypatch.setenv(name, shown[name])
    assert load_settings() == defaults


def test_lines_of_the_example_are_short() -> None:
    assert [line for line in render_example().splitlines() if len(line) > 100 and line.startswith("# ")] == []


def test_the_table_shows_every_setting_with_its_default_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)` )?\|.*\|$", render_table(), re.MULTILINE))
    assert [*shown] == NAMES
    monkeypatch.setenv("APP_ENV", "production")
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    effective = load_settings().masked()
    required = {"APP_ENV", *REQUIRED}
    assert not any(shown[name] for name in required)
    assert shown["DB_POOL_SIZE"] == "WEB_THREADS + 2"
    assert effective["DB_POOL_SIZE"] == "18"
    others = set(NAMES) - required - {"DB_POOL_SIZE"}
    assert {name: shown[name] for name in others} == {name: effective[name] for name in others}
