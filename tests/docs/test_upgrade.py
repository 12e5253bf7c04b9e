"""The commands of a rolling upgrade and their order, recorded by a program in place of docker."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RUNNING = "echo first; echo second"
ADDRESSES = "echo 10.0.0.1:8000; echo 10.0.0.2:8000"


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a docker that records its arguments and succeeds."""
    write(tmp_path)
    return tmp_path


def write(folder: Path, *cases: str) -> None:
    """Write a docker that behaves according to the branches of a `case` over its arguments."""
    branches = [*cases, f'"compose ps "*) {RUNNING} ;;', f'"inspect "*) {ADDRESSES} ;;']
    script = f'#!/bin/sh\necho "$*" >>"{folder}/asked"\ncase "$*" in {" ".join(branches)} esac\n'
    (folder / "docker").write_text(script)
    (folder / "docker").chmod(0o755)


def upgrade(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    command = ["sh", "ops/upgrade.sh", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def asked(folder: Path) -> list[str]:
    """Return the recorded commands without their options, except the number of replicas."""
    lines = (folder / "asked").read_text().splitlines()
    short = [re.sub(r"^compose | --\S+(?<!\d)(?= |$)| /bin/sh \S+/start.sh", "", line) for line in lines]
    return [line for line in short if not line.startswith("inspect")]


@pytest.mark.parametrize(("arguments", "count"), [((), 2), (("1",), 1)])
def test_old_replicas_are_removed_from_nginx_before_they_are_stopped(
    docker: Path, arguments: tuple[str, ...], count: int
) -> None:
    done = upgrade(docker, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(docker) == [
        "ps app",
        "run nginx test",
        "run migrate",
        "rm migrate",
        f"up app={2 + count} app",
        "exec nginx leave-out 10.0.0.1:8000 10.0.0.2:8000",
        "stop first second",
        "rm first second",
        f"up app={count}",
        "exec nginx leave-out",
    ]


@pytest.mark.parametrize("failing", ["*app=4*", '*" leave-out 10"*'])
def test_new_replicas_that_are_not_used_are_removed(docker: Path, failing: str) -> None:
    write(docker, f"{failing}) exit 1 ;;", f'*" ps --all "*) {RUNNING}; echo third; echo fourth ;;')
    done = upgrade(docker)
    assert done.returncode == 1
    assert "the old ones still serve" in done.stderr
    assert [line for line in asked(docker) if line.startswith(("rm", "stop"))] == [
        "rm migrate",
        "rm third",
        "rm fourth",
    ]


def test_a_migration_that_fails_replaces_nothing(docker: Path) -> None:
    write(docker, "*migrate*) exit 1 ;;")
    assert upgrade(docker).returncode == 1
    assert asked(docker) == ["ps app", "run nginx test", "run migrate"]


def test_settings_that_nginx_does_not_accept_change_nothing(docker: Path) -> None:
    write(docker, '*nginx*test*) echo \'{"reason":"NGINX_RATE: invalid"}\'; exit 1 ;;')
    done = upgrade(docker)
    assert done.returncode == 1
    assert "NGINX_RATE: invalid" in done.stdout
    assert "Nothing was changed" in done.stderr
    assert asked(docker) == ["ps app", "run nginx test"]
