"""docs/architecture.md: every file and every function that it names exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
REFERENCES = sorted(
    set(re.findall(r"`((?:app|ops|migrations|tests|benchmarks|clients|examples)/[\w./]*\w\.py):(\w+)`", PAGE))
)
PATHS = sorted(set(re.findall(r"`((?:\w+/)[\w./]*/?|\w+\.(?:py|conf\.py|conf))`", PAGE)))


@pytest.mark.parametrize(("path", "name"), REFERENCES)
def test_a_named_function_class_or_constant_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    defined = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert name in defined


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in PATHS
        if path not in ("__init__.py", "views.py", "service.py", "models.py", "schemas.py", "commands.py")
    ],
)
def test_a_named_file_or_folder_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_package_of_the_application_has_its_row() -> None:
    there = {path.name for path in (ROOT / "app").iterdir() if not path.name.startswith("__pycache__")}
    assert {name.rstrip("/") for name in re.findall(r"^\| `app/([\w./]+)` \|", PAGE, re.MULTILINE)} == there
