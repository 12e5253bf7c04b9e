"""Files that must agree with each other: the locks, the settings and their example."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from app.settings import ROOT, Settings, load_settings

LOCKS = ["requirements.txt", "requirements-otel.txt", "requirements-dev.txt"]
EXAMPLE = ROOT / ".env.example"


def pins(name: str) -> set[str]:
    """Every `package==version ; marker` that a lock names."""
    text = (ROOT / name).read_text()
    return {match[1].strip() for match in re.finditer(r"^(\w\S*==[^\\\n]+)", text, re.MULTILINE)}


def example_defaults() -> dict[str, str]:
    """Every setting that .env.example shows, commented out or not, with its value."""
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_each_lock_holds_the_one_before_it() -> None:
    assert pins("requirements.txt") < pins("requirements-otel.txt") < pins("requirements-dev.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    unhashed = re.findall(r"^(\w\S*==[^\\\n]+)\n", text, re.MULTILINE)
    assert unhashed == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_place_to_fetch_from(name: str) -> None:
    assert not re.search(r"://|^-{1,2}(?:i|index|extra|find|trusted)|^\.?/", (ROOT / name).read_text(), re.MULTILINE)


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(example_defaults()) == {f.name.upper() for f in dataclasses.fields(Settings)}


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = example_defaults()
    # As on a machine where nothing is set; "testing" keeps .env and the generated secret out.
    for name in shown:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP_ENV", "testing")
    monkeypatch.setenv("JWT_SECRET_KEY", "k" * 20 + "0123456789abcdef")
    bare = load_settings()
    for name in shown.keys() - {"APP_ENV", "JWT_SECRET_KEY"}:
        monkeypatch.setenv(name, shown[name])
    # A relative SQLite path means the same file.
    assert load_settings() == dataclasses.replace(bare, cors_origins=load_settings().cors_origins)
    assert set(load_settings().cors_origins) == set(bare.cors_origins)


def test_what_holds_secrets_is_not_committed() -> None:
    ignored = Path(ROOT / ".gitignore").read_text().splitlines()
    assert {"/var/", "/.env", "/.venv/"} <= set(ignored)
