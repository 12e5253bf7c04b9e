"""tools/bootstrap.py and .sh: error messages, and installations that are neither repeated nor incomplete."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
TIMEOUT_SECONDS = 60

# Answers the probe, and only logs the commands that create a .venv and install packages.
FAKE_PYTHON = """#!/bin/sh
tree={tree}
case "$*" in
    *"-m venv"*)
        echo venv >> "$tree/calls"
        sleep {venv_seconds}
        mkdir -p "$tree/.venv/bin"
        cp "$0" "$tree/.venv/bin/python";;
    *"-m pip"*)
        echo pip >> "$tree/calls"
        test ! -e "$tree/no-network" || {{ echo "no network" >&2; exit 1; }};;
    *) echo '{probe}';;
esac
"""


class Checkout:
    """A copy of the tools in a separate folder, with a fake Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / "fake python"
        shutil.copytree(TOOLS, root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("requirements.txt", "requirements-dev.txt"):
            (root / name).write_text("flask==3.1.3\n")
        self.fake_python((3, 12, 1))

    def fake_python(self, version: tuple[int, ...], missing: tuple[str, ...] = (), venv_seconds: float = 0) -> None:
        """Write the fake Python, with this version and without the `missing` modules."""
        probe = {"version": version, "path": "/usr/bin/python3", "missing": missing}
        if not missing:
            probe["path"] = str(self.python)
        tree = f"'{self.root}'"
        self.python.write_text(FAKE_PYTHON.format(tree=tree, venv_seconds=venv_seconds, probe=json.dumps(probe)))
        self.python.chmod(0o755)

    def start(self, command: str = "install-dev", python: Path | str = "") -> subprocess.Popen[str]:
        """Start bootstrap.py with PYTHON set to the fake one, or to another one."""
        return subprocess.Popen(
            [sys.executable, "-B", self.root / "tools" / "bootstrap.py", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHON": str(python or self.python)},
        )

    def run(self, command: str = "install-dev", python: Path | str = "") -> tuple[int, str]:
        """Run bootstrap.py and return its exit code and its standard error."""
        with self.start(command, python) as process:
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        return process.returncode, errors

    def take_calls(self) -> list[str]:
        """Return the commands that the fake Python got since the last call."""
        calls = self.root / "calls"
        taken = calls.read_text().split() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return taken


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout with a space in its path."""
    root = tmp_path / "a tree"
    root.mkdir()
    return Checkout(root)


def test_the_script_has_the_syntax_of_python_36() -> None:
    ast.parse((TOOLS / "bootstrap.py").read_text(), feature_version=(3, 6))


def test_an_old_python_is_reported(checkout: Checkout) -> None:
    checkout.fake_python((3, 9, 2))
    code, errors = checkout.run()
    assert code == 1
    assert errors == (
        f"Gatepost needs Python 3.11 or newer, but {checkout.python} is Python 3.9.2: "
        "install a newer one, or set PYTHON=/path/to/python3.\n"
    )
    assert checkout.take_calls() == []


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_venv_module_names_the_package_to_install(checkout: Checkout, module: str) -> None:
    checkout.fake_python((3, 12, 1), missing=(module,))
    code, errors = checkout.run()
    assert code == 1
    assert errors == (
        "/usr/bin/python3 (Python 3.12) cannot create virtual environments: install its venv module "
        "(on Debian or Ubuntu: apt install python3.12-venv), then run this again.\n"
    )


def test_a_python_built_without_sqlite_is_refused(checkout: Checkout) -> None:
    checkout.fake_python((3, 13, 0), missing=("_sqlite3", "_ssl"))
    code, errors = checkout.run()
    assert code == 1
    assert errors == (
        "/usr/bin/python3 (Python 3.13) was built without sqlite3 and ssl: "
        "set PYTHON=/path/to/python3 to use another one.\n"
    )


def test_a_python_that_does_not_start_is_named(checkout: Checkout) -> None:
    assert checkout.run(python="/no/such/python") == (
        1,
        "PYTHON=/no/such/python does not start.\n",
    )


def test_a_folder_that_cannot_be_created_is_reported(checkout: Checkout) -> None:
    (checkout.root / "var").write_text("a file in place of a folder")
    code, errors = checkout.run()
    assert code == 1
    assert errors.startswith("Setup failed: ")
    assert errors.count("\n") == 1


def test_a_second_run_installs_nothing(checkout: Checkout) -> None:
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == ["venv", "pip"]
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == []


def test_a_new_lock_is_installed_into_the_same_environment(checkout: Checkout) -> None:
    checkout.run()
    checkout.take_calls()
    (checkout.root / "requirements-dev.txt").write_text("flask==3.1.4\n")
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == ["pip"]


@pytest.mark.parametrize("change", ["python", "folder"])
def test_another_python_or_folder_creates_a_new_environment(checkout: Checkout, change: str) -> None:
    checkout.run()
    checkout.take_calls()
    if change == "python":
        checkout.fake_python((3, 13, 0))
    else:
        moved = checkout.root.with_name("moved")
        checkout.root.rename(moved)
        checkout.root, checkout.python = moved, moved / "fake python"
        checkout.fake_python((3, 12, 1))
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == ["venv", "pip"]


def test_a_failed_installation_is_repeated(checkout: Checkout) -> None:
    (checkout.root / "no-network").touch()
    assert checkout.run() == (1, "no network\nThe installation failed; see the messages above.\n")
    (checkout.root / "no-network").unlink()
    checkout.take_calls()
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == ["venv", "pip"]


def test_two_simultaneous_runs_install_once(checkout: Checkout) -> None:
    checkout.fake_python((3, 12, 1), venv_seconds=1)
    with checkout.start() as first, checkout.start() as second:
        output = first.communicate()[0] + second.communicate()[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert checkout.take_calls() == ["venv", "pip"]
    assert "Waiting for another setup to finish.\n" in output


def test_a_killed_run_leaves_no_environment_that_looks_complete(checkout: Checkout) -> None:
    checkout.fake_python((3, 12, 1), venv_seconds=1)
    with checkout.start() as process:
        wait_until((checkout.root / "calls").exists)
        process.kill()
        process.communicate()
    # The running step holds the lock until it ends, so that it cannot write into the next environment.
    assert checkout.run() == (0, "")
    assert checkout.take_calls() == ["venv", "venv", "pip"]


def test_the_launcher_skips_a_python_that_fails(tmp_path: Path, checkout: Checkout) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3").chmod(0o755)
    (shims / "python3.13").symlink_to(sys.executable)
    assert launch(checkout, shims, "/no/such/python") == (
        1,
        "PYTHON=/no/such/python does not start.\n",
    )


def test_the_launcher_reports_that_there_is_no_python(tmp_path: Path, checkout: Checkout) -> None:
    code, errors = launch(checkout, tmp_path, "")
    assert code == 1
    assert errors == (
        "Gatepost needs Python 3.11 or newer, and no Python was found: install one, or set PYTHON=/path/to/python3.\n"
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds that another process fulfils."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def launch(checkout: Checkout, path: Path, python: str) -> tuple[int, str]:
    """Run bootstrap.sh with `path` as the only folder of the PATH."""
    answer = subprocess.run(
        ["/bin/sh", "tools/bootstrap.sh", "install-dev"],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env={"PATH": str(path), "PYTHON": python},
    )
    return answer.returncode, answer.stderr
