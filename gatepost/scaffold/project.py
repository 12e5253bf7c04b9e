"""Writes a new project that has Gatepost as a dependency, with one feature."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

import gatepost
from gatepost.scaffold.feature import context_of, feature_files, plan_feature
from gatepost.scaffold.files import render, write_folder
from gatepost.scaffold.names import ScaffoldError

# The files of a project and their templates.
FILES = {
    **{name: name for name in ("README.md", "Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt")},
    **{name: name for name in ("run.py", "gunicorn.conf.py", "Dockerfile", "docker-compose.yml")},
    ".env.example": "env.example",
    ".gitignore": "gitignore",
    ".dockerignore": "dockerignore",
    ".github/workflows/ci.yml": "ci.yml",
    "features/__init__.py": "features.py",
}
# What a project gets of Gatepost's own as it is.
STACK = ("nginx.conf", "ops/nginx/start.sh")
FEATURE, FIELDS = "notes", ("title:text", "body:text?", "labels[]:name")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def write(folder: str, source: str | None) -> None:
    """Write the project into a new folder. Raises ScaffoldError.

    `source` is a folder or a wheel from which it installs Gatepost, by default the package index.
    """
    path = Path(folder).absolute()
    if not _NAME.fullmatch(path.name):
        raise ScaffoldError(f"{path.name!r} cannot be the name of a project: it has letters, digits, '.', '-' and '_'.")
    if path.exists():
        raise ScaffoldError(f"{folder} exists already.")
    if source is not None and not Path(source).exists():
        raise ScaffoldError(f"There is no {source} to install Gatepost from.")
    texts = project_texts(path.name, "" if source is None else str(Path(source).absolute()))
    write_folder(path, texts)
    click.echo(f"Wrote the project {path.name} with the feature {FEATURE}:")
    for file in texts:
        click.echo(f"  {folder}/{file}")
    click.echo(f"Next:\n  cd {folder}\n  make test\n  make run")


def project_texts(name: str, source: str) -> dict[str, str]:
    """Return the texts of the files of a project by their path."""
    feature = plan_feature(FEATURE, FIELDS, owned=True, into="features", singular=None)
    variables = {
        "title": name,
        # As Compose wants it.
        "slug": re.sub(r"[^a-z0-9_-]", "-", name.lower()),
        "source": source,
        "version": gatepost_version(),
        "feature": FEATURE,
    }
    texts = render("project", FILES, variables)
    for path, text in render("feature", feature_files(feature), context_of(feature)).items():
        texts[f"features/{FEATURE}/{path}"] = text
    return texts | {path: (stack_folder() / path).read_text(encoding="utf-8") for path in STACK}


def stack_folder() -> Path:
    """Return the folder with the files of the stack: in a wheel, a part of this package."""
    in_wheel = Path(__file__).with_name("stack")
    return in_wheel if in_wheel.is_dir() else Path(gatepost.__file__).resolve().parents[1]


def gatepost_version() -> str:
    """Return the version of Gatepost: that of the installed package, or of the sources."""
    try:
        return version("gatepost")
    except PackageNotFoundError:
        text = (stack_folder() / "pyproject.toml").read_text(encoding="utf-8")
        return str(re.findall(r'^version = "(.+)"$', text, re.MULTILINE)[0])
