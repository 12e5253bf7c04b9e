"""The targets of the production stack in the Makefile, with a program in place of docker that records its calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKER = """#!/bin/sh
echo "$GATEPOST_VERSION $GATEPOST_REVISION | $*" >>"$RECORD"
case "$*" in
    *"config --format json") echo '{"services": {"variables": {"environment": {
        "POSTGRES_PASSWORD": "", "DATABASE_PASSWORD_DIR": ""}}}}' ;;
    *"compose ps --quiet app") [ -z "$RUNNING" ] || echo "$RUNNING" ;;
    *"compose ps --quiet --status running nginx") [ -z "$RUNNING" ] || [ -n "$WITHOUT_NGINX" ] || echo nginx ;;
esac
"""
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FILES = ("Makefile", "pyproject.toml", "tools/production_env.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with the files that the targets use, one commit, and an ops/upgrade.sh that is recorded too."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for name, script in {"bin/docker": DOCKER, "ops/upgrade.sh": 'echo "upgrade.sh $*" >>"$RECORD"\n'}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".gitignore").write_text("/.env\n/var\n/record\n")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com")
    for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--no-verify", "--message", "x")):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def make(project: Path, *arguments: str, **environment: str) -> list[str]:
    """Run make and return the recorded calls."""
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "RECORD": str(project / "record"), "HOME": str(project), **environment}
    subprocess.run(["make", *arguments], cwd=project, env=env, check=True, capture_output=True, timeout=60)
    return (project / "record").read_text().splitlines()


def built_as(calls: list[str]) -> str:
    """Return the version and the revision with which the image was built."""
    (build,) = (call for call in calls if call.endswith("| compose build"))
    return build.partition(" | ")[0]


@pytest.mark.parametrize("target", ["up", "upgrade"])
def test_the_image_is_built_with_its_version_and_revision(project: Path, target: str) -> None:
    label = built_as(make(project, target))
    assert re.fullmatch(rf"{re.escape(VERSION)} [0-9a-f]{{40}}", label)
    (project / "record").unlink()
    (project / "pyproject.toml").write_text('version = "9.9.9"\n')
    assert built_as(make(project, target)) == f"9.9.9 {label.split()[1]}-dirty"
    (project / "record").unlink()
    assert built_as(make(project, target, GATEPOST_VERSION="1.0", GATEPOST_REVISION="a")) == "1.0 a"


def test_without_git_the_image_is_built_too(project: Path) -> None:
    shutil.rmtree(project / ".git")
    assert built_as(make(project, "up")).strip() == VERSION


def test_up_starts_a_stack_and_upgrades_one_that_runs(project: Path) -> None:
    start = "compose up --detach --wait"
    assert make(project, "up")[-1].endswith(start)
    assert make(project, "up", RUNNING="first")[-1] == "upgrade.sh "
    # After a first start with settings that nginx does not accept.
    assert make(project, "up", RUNNING="first", WITHOUT_NGINX="1")[-1].endswith(start)
    assert make(project, "up", "ARGS=--scale app=3", RUNNING="first")[-1].endswith(f"{start} --scale app=3")
    assert make(project, "upgrade", "ARGS=2", RUNNING="first")[-1] == "upgrade.sh 2"
