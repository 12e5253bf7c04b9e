"""The house rules that a machine can check: who may import whom, and how long things may grow."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from app import BUILT_IN

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
FEATURES = {feature.name for feature in BUILT_IN}
LAYERS_ABOVE = {
    "models": {"schemas", "service", "views"},
    "schemas": {"service", "views"},
    "service": {"views"},
    "views": {"models"},
}
# These know the features because putting them together is what they are for.
KNOW_ALL = {
    "app/__init__.py": "the composition root",
    "app/components.py": "names the types of what features put there",
}
LONG_FILES = {
    "app/auth/sessions.py": "the statements on the sessions table beside the functions that run them",
    "app/settings/declarations.py": "one declaration for each setting",
    "gatepost/testing/services/postgres.py": "one class for a server with all that tests do to it",
}
LONG_FUNCTIONS: dict[str, str] = {}


def sources(*folders: str) -> list[str]:
    """The Python files below these folders, as paths from the root."""
    return sorted(path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py"))


APP = sources("app")
CODE = [*APP, *sources("gatepost", "tools", "migrations"), "run.py", "gunicorn.conf.py"]


@cache
def parsed(path: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def file_of(name: str) -> str | None:
    """The file of a module of ours, by its dotted name."""
    path = Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate.as_posix()
    return None


def nodes(path: str, *, runtime: bool) -> Iterator[ast.AST]:
    """Every node of a file; with `runtime`, without the blocks that only type checkers read."""
    waiting: list[ast.AST] = [parsed(path)]
    while waiting:
        node = waiting.pop()
        if runtime and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


@cache
def imports(path: str, *, runtime: bool = False) -> frozenset[str]:
    """Every module that a file imports, wherever in it: `from app import db` is app.db."""
    names: set[str] = set()
    for node in nodes(path, runtime=runtime):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path} imports relatively"
            assert not node.level, f"{path} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in submodules if file_of(name)}
            names |= modules or {node.module}
            if modules != submodules:
                names.add(node.module)
    return frozenset(names)


def reached(path: str) -> dict[str, str]:
    """Every module that running a file brings with it, and which file asked for it; app itself left out."""
    found: dict[str, str] = {}
    waiting = [path]
    while waiting:
        here = waiting.pop()
        for name in imports(here, runtime=True) - found.keys() - {"app"}:
            found[name] = here
            if there := file_of(name):
                waiting.append(there)
    return found


def feature_of(name: str) -> str:
    """The feature that a module or a file belongs to, or ""."""
    parts = name.replace("/", ".").split(".")
    return parts[1] if parts[0] == "app" and len(parts) > 1 and parts[1] in FEATURES else ""


def functions(path: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method of a file, by its dotted name; functions inside of functions count as theirs."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif not isinstance(child, ast.expr):
                yield from walk(child, prefix)

    return walk(parsed(path), "")


def test_features_know_each_other_in_one_direction() -> None:
    """A cycle would make two features one."""
    known: dict[str, set[str]] = {name: set() for name in FEATURES}
    for path in APP:
        if here := feature_of(path):
            known[here] |= {feature_of(name) for name in imports(path)} - {"", here}
    assert [*TopologicalSorter(known).static_order()]


@pytest.mark.parametrize("path", APP)
def test_the_application_knows_no_tests(path: str) -> None:
    assert not [name for name in imports(path) if re.match(r"tests|examples|gatepost\.testing", name)]


@pytest.mark.parametrize("path", [path for path in APP if not feature_of(path) and path not in KNOW_ALL])
def test_what_the_features_share_knows_none_of_them(path: str) -> None:
    assert {feature_of(name) for name in imports(path)} <= {""}


@pytest.mark.parametrize("path", [path for path in APP if Path(path).stem in LAYERS_ABOVE and feature_of(path)])
def test_a_layer_imports_only_what_is_below_it(path: str) -> None:
    layer = Path(path).stem
    for name in imports(path):
        if feature_of(name):
            assert name.rpartition(".")[2] not in LAYERS_ABOVE[layer], f"{path} imports {name}"
    if layer in ("schemas", "views"):
        assert not [name for name in imports(path) if name.startswith(("sqlalchemy", "flask_sqlalchemy"))]
    if layer in ("models", "schemas"):
        assert not [name for name in imports(path) if name.startswith("flask")]


def says(path: str, text: str) -> bool:
    """Whether a module's docstring holds these words."""
    return text in " ".join((ast.get_docstring(parsed(path)) or "").split())


@pytest.mark.parametrize("path", [path for path in APP if says(path, "ust not import Flask")])
def test_what_says_it_must_not_import_flask_does_not(path: str) -> None:
    found = {name: via for name, via in reached(path).items() if name.split(".")[0].startswith("flask")}
    assert not found


def test_errors_are_facts_without_flask() -> None:
    assert not [name for name in reached("app/api/errors/__init__.py") if name.split(".")[0] in ("flask", "werkzeug")]


@pytest.mark.parametrize("path", APP)
def test_only_the_edge_commits(path: str) -> None:
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    commits = [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr == "commit"]
    assert not commits or path == "app/database/transactions.py"


@pytest.mark.parametrize("path", CODE)
def test_a_file_says_what_it_is_for_and_stays_short(path: str) -> None:
    assert ast.get_docstring(parsed(path))
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert (lines > MAX_FILE_LINES) == (path in LONG_FILES), f"{path} has {lines} lines"


@pytest.mark.parametrize("path", CODE)
def test_functions_stay_short(path: str) -> None:
    long = {
        f"{path}:{name}"
        for name, node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {name for name in LONG_FUNCTIONS if name.startswith(f"{path}:")}


@pytest.mark.parametrize("path", [path for path in CODE if path.startswith(("app/", "tools/"))])
def test_every_public_function_says_what_it_does(path: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    silent = []
    for name, node in functions(path):
        parents, _, own = name.rpartition(".")
        if any(part.startswith("_") for part in name.split(".")) or ast.get_docstring(node):
            continue
        # An override does what its base says it does.
        owner = getattr(module, parents) if parents else None
        if owner is None or not any(hasattr(base, own) for base in owner.__mro__[1:]):
            silent.append(name)
    assert not silent
