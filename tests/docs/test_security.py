"""docs/security.md names tests that there are, and items of its check-lists once each."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)))


@cache
def names_in(path: Path) -> set[str]:
    """The names of the tests of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_it_names_is_there(path: str, name: str) -> None:
    # The conformance tests are part of the plug-in.
    folder = ROOT / ("gatepost/testing" if path.startswith("checks/") else "tests")
    file = folder / path
    assert file.is_file()
    assert not name or name in names_in(file)


def test_it_names_every_test_of_the_hostile_table() -> None:
    """A check that is added belongs on the page; what only proves the table itself does not."""
    named = {name for path, name in NAMED if path.startswith("hostile/")}
    found = {name for path in (ROOT / "tests/hostile").glob("test_*.py") for name in names_in(path)}
    proofs = {
        "test_genuine_tokens_signed_again_are_accepted",
        "test_an_unusual_body_that_is_valid",
        "test_the_allowed_origin_may_read",
        "test_every_row_has_every_role",
    }
    assert found - named <= proofs


@pytest.mark.parametrize("number", range(1, 11))
def test_each_of_the_ten_risks_has_its_row(number: int) -> None:
    assert len(re.findall(rf"^\| API{number} ", PAGE, re.MULTILINE)) == 1


@pytest.mark.parametrize("section", ["6.2.1", "6.3.1", "7.4.2", "8.2.2", "8.3.2", "9.1.2", "9.2.3"])
def test_the_first_level_of_the_standard_has_its_rows(section: str) -> None:
    assert re.search(rf"^\|[^|]*\b{re.escape(section)}\b", PAGE, re.MULTILINE)
