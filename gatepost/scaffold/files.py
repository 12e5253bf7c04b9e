"""Renders templates, and writes a folder of files completely or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from pprint import pformat
from tempfile import mkdtemp
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gatepost.scaffold.names import ScaffoldError


def render(folder: str, files: Mapping[str, str], variables: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of files by their path. `files` has their templates in a folder of templates/."""
    environment = Environment(
        autoescape=False,  # noqa: S701 - the texts are no HTML
        loader=PackageLoader("gatepost.scaffold", f"templates/{folder}"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["source"] = source_of
    return {path: environment.get_template(f"{name}.jinja").render(variables) for path, name in files.items()}


def source_of(value: object) -> str:
    """Return a value as Python source, with the quotes of Ruff's format."""
    return pformat(value, width=100, sort_dicts=False).replace("'", '"')


def write_package(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into a new package, whose parent packages are created too. Raises ScaffoldError.

    The files are written to a hidden folder beside the package and formatted there. Renaming it is the last step.
    """
    created = _make_packages(folder.parent)
    try:
        write_folder(folder, texts)
    except BaseException:
        for path in reversed(created):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into a new folder, completely or not at all. Raises ScaffoldError."""
    try:
        draft = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise ScaffoldError(f"{folder.parent} is not writable: {error.strerror}.") from error
    try:
        draft.chmod(0o755)
        for path, text in texts.items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_text(text, encoding="utf-8")
        _format(draft)
        if folder.exists():
            raise ScaffoldError(f"{folder} exists already.")
        draft.rename(folder)
    except OSError as error:
        raise ScaffoldError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _make_packages(folder: Path) -> list[Path]:
    """Create the packages down to `folder` below the current folder; return the folders and files that are new."""
    created: list[Path] = []
    below = folder.relative_to(Path.cwd()).parts
    try:
        for path in [Path.cwd().joinpath(*below[:count]) for count in range(1, len(below) + 1)]:
            if not path.is_dir():
                path.mkdir()
                created.append(path)
            if path in created:
                (path / "__init__.py").write_text('"""The features of this project."""\n', encoding="utf-8")
                created.append(path / "__init__.py")
    except OSError as error:
        raise ScaffoldError(f"{folder} cannot be created: {error.strerror}.") from error
    return created


def _format(folder: Path) -> None:
    """Sort the imports and format the code by the rules of the project, if Ruff is installed."""
    if find_spec("ruff") is None:
        return
    for arguments in (("check", "--select", "I,F401", "--fix"), ("format",)):
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise ScaffoldError(f"Ruff cannot format the code: {done.stdout}{done.stderr}")
