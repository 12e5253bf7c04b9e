"""The lock files, and the files that must not be committed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import ROOT

LOCKS = ["requirements.txt", "requirements-otel.txt", "requirements-dev.txt"]


def pins(name: str) -> set[str]:
    """Return every `package==version ; marker` of a lock file."""
    text = (ROOT / name).read_text()
    return {match[1].strip() for match in re.finditer(r"^(\w\S*==[^\\\n]+)", text, re.MULTILINE)}


def test_each_lock_contains_the_previous_one() -> None:
    assert pins("requirements.txt") < pins("requirements-otel.txt") < pins("requirements-dev.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    unhashed = re.findall(r"^(\w\S*==[^\\\n]+)\n", text, re.MULTILINE)
    assert unhashed == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_package_index(name: str) -> None:
    assert not re.search(r"://|^-{1,2}(?:i|index|extra|find|trusted)|^\.?/", (ROOT / name).read_text(), re.MULTILINE)


def test_files_with_secrets_are_ignored() -> None:
    ignored = Path(ROOT / ".gitignore").read_text().splitlines()
    assert {"/var/", "/.env", "/.venv/"} <= set(ignored)
