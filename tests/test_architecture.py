"""The house rules that a machine can check: who may import whom, and how long things may grow."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FEATURES = {"auth", "posts", "users"}
# What of the features' layers may be imported by which layer of the same feature.
LAYERS = ("models", "schemas", "service", "views")
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
LONG_FILES = {
    "app/errors.py": "one table of every problem, and one class for each",
    "app/settings.py": "one list of every setting, with its check",
    "app/http.py": "the one order in which a request is judged, and what an endpoint may declare",
    "app/auth/sessions.py": "the whole life of a session, whose statements only make sense side by side",
}
LONG_FUNCTIONS: dict[str, str] = {}


def sources(*folders: str) -> list[str]:
    """The Python files below these folders, as paths from the root."""
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


CODE = [*sources("app", "tools", "migrations", "benchmarks"), "run.py", "gunicorn.conf.py"]


@cache
def parsed(path: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def module_of(path: str) -> str:
    """The dotted name that a file is imported by."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str) -> Iterator[str]:
    """Every module of ours that a file imports, wherever in it, by the longest name that is a module."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if is_module(submodule) else str(node.module)


def is_module(name: str) -> bool:
    """Whether a name is that of a module of ours."""
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def package_of(name: str) -> str:
    """The folder below app/ that a module belongs to, or "" for one of the shared files and of others."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "app" and (ROOT / "app" / parts[1]).is_dir() else ""


@pytest.mark.parametrize("path", sources("app"))
def test_a_feature_imports_only_what_it_may(path: str) -> None:
    here = package_of(module_of(path))
    allowed = {"auth": {"auth", "users", "ops"}, "posts": {"posts", "users"}, "users": {"users"}, "ops": {"ops"}}
    for name in imports(path):
        there = package_of(name)
        if not there:
            continue
        if path == "app/__init__.py":  # the composition root
            continue
        if here:
            assert there in allowed[here] - ({"ops"} if here == "auth" else set()), f"{path} imports {name}"


@pytest.mark.parametrize("path", [path for path in sources("app") if not package_of(module_of(path))])
def test_what_features_share_knows_none_of_them(path: str) -> None:
    known = {package_of(name) for name in imports(path)} - {"", "ops"}
    assert path == "app/__init__.py" or not known & FEATURES, f"{path} imports {known}"
