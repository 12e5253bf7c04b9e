"""The order of a rolling upgrade, told by a docker that only writes down what it is asked."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

RUNNING = "echo first; echo second"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a docker, and with a sleep that takes no time."""
    write(tmp_path / "docker", f'echo "$*" >>"{tmp_path}/asked"\ncase "$*" in *" ps "*) {RUNNING} ;; esac')
    write(tmp_path / "sleep", f'echo "sleep $*" >>"{tmp_path}/asked"')
    return tmp_path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def upgrade(programs: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "ops/upgrade.sh"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def asked(programs: Path) -> list[str]:
    """What docker was asked, by its verb and the number of replicas."""
    lines = (programs / "asked").read_text().splitlines()
    return [re.sub(r"^compose | --\S+(?<!\d)(?= |$)", "", line) for line in lines]


def test_the_schema_is_first_and_the_old_go_when_the_new_are_up(programs: Path) -> None:
    done = upgrade(programs)
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(programs) == [
        "ps app",
        "run migrate",
        "rm migrate",
        "up app=4 app",
        "sleep 8",
        "stop first",
        "rm first",
        "sleep 8",
        "stop second",
        "rm second",
        "sleep 8",
        "up app=2",
    ]


def test_new_replicas_that_do_not_get_healthy_are_removed(programs: Path) -> None:
    write(
        programs / "docker",
        f'echo "$*" >>"{programs}/asked"\n'
        f'case "$*" in *" ps --all "*) {RUNNING}; echo third; echo fourth ;; *" ps "*) {RUNNING} ;; '
        "*app=4*) exit 1 ;; esac",
    )
    done = upgrade(programs)
    assert done.returncode == 1
    assert "the old ones serve on" in done.stderr
    assert [line for line in asked(programs) if line.startswith(("rm", "stop"))] == [
        "rm migrate",
        "rm third",
        "rm fourth",
    ]


def test_a_migration_that_fails_replaces_nothing(programs: Path) -> None:
    write(
        programs / "docker",
        f'echo "$*" >>"{programs}/asked"\ncase "$*" in *" ps "*) {RUNNING} ;; *migrate*) exit 1 ;; esac',
    )
    assert upgrade(programs).returncode == 1
    assert asked(programs) == ["ps app", "run migrate"]
