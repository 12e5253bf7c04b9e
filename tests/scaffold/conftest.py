"""A wheel of Gatepost, a virtual environment in which it is installed, and a project that was made with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

# A guard against hanging: the slowest command takes a minute on a quiet machine.
SECONDS = 900
# What `make test` calls. The plug-ins of other packages in the shared environment are no part of a project's.
PLUGINS = "-p no:schemathesis -p no:faker -p no:anyio"
# Besides the one of each project, which is owned and has parts.
SHAPES = {
    "optional_notes": ("title:text?", "rating:integer?", "due:date?", "--owned"),
    "courses": ("code:text", "credits:integer", "chapters[]:name,on:date?,kind:choice=read/watch?"),
    # Every type, and the longest name: the code is wrapped where it can be.
    "maintenance_appointments": (
        *("title:text", "visits:integer", "cost:number", "urgent:boolean", "day:date", "at:datetime", "order:text?"),
        *("kind:choice=repair/check", "limit:choice=low/high?"),
    ),
    "tags": ("name",),
}


# In one process, because the start of each takes seconds.
SCAFFOLD_ALL = """
import json, sys
from run import app
for arguments in json.loads(sys.argv[1]):
    done = app.test_cli_runner().invoke(args=["scaffold", *arguments])
    assert done.exit_code == 0, done.output
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project, and the virtual environment in which Gatepost is installed from the wheel."""

    folder: Path
    scripts: Path
    wheel: Path

    @property
    def python(self) -> str:
        """The interpreter of the environment."""
        return str(self.scripts / "python")

    def run(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command in the project's folder; return its output. The test fails if the command does."""
        return run(command, cwd or self.folder, env)


def run(command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command without access to the sources; return its output."""
    unwanted = ("PYTHONPATH", "FEATURES", "FLASK_APP", "MAKEFLAGS", "MAKELEVEL")
    environ = {name: value for name, value in os.environ.items() if name not in unwanted} | dict(env or {})
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    [found] = folder.glob("gatepost-*.whl")
    return found


@pytest.fixture(scope="session")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment with the wheel; its dependencies are those of the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    run([*pip, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], folder)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    # Ruff looks for its program beside the interpreter.
    (folder / "bin" / "ruff").symlink_to(Path(sysconfig.get_path("scripts")) / "ruff")
    return folder / "bin"


@pytest.fixture(scope="session")
def shop(wheel: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project as `flask scaffold --project` writes it, with a feature of each shape."""
    parent = tmp_path_factory.mktemp("projects")
    module = [str(scripts / "python"), "-m"]
    run([*module, "flask", "scaffold", "--project", "shop", "--gatepost", str(wheel)], parent)
    project = Project(parent / "shop", scripts, wheel)
    arguments = [[name, *fields] for name, fields in SHAPES.items()]
    project.run(project.python, "-c", SCAFFOLD_ALL, json.dumps(arguments))
    return project


@pytest.fixture(scope="session")
def features(shop: Project) -> str:
    """FEATURES with all features of the project."""
    return ",".join(f"features.{name}" for name in ("notes", *SHAPES))
