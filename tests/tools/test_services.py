"""tools/services.py: finding and installing programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import services


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without the program and apt-get; returns the folder of unpacked packages."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(services, "EXTRA_PATHS", ())
    monkeypatch.setattr(services, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_missing_program_fails_only_in_ci(
    bare_machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    code: int,
) -> None:
    monkeypatch.setenv("CI", ci)
    assert services.main(["redis"]) == code
    assert capsys.readouterr().err == (
        "redis-server is missing: install it (on Debian: apt install redis-server). Tests that need it are skipped.\n"
    )


def test_an_installed_program_has_priority(bare_machine: Path, tmp_path: Path) -> None:
    make_program(bare_machine / "redis" / "usr" / "bin" / "redis-server")
    own = make_program(tmp_path / "bin" / "redis-server")
    assert services.locate("redis") == services.Program(own)


def test_an_unpacked_program_gets_its_libraries(bare_machine: Path) -> None:
    root = bare_machine / "redis" / "usr"
    program = make_program(root / "bin" / "redis-server")
    libraries = [root / "lib" / "a", root / "lib" / "b"]
    for folder in libraries:
        folder.mkdir(parents=True)
        (folder / "libx.so.1").touch()
    located = services.locate("redis")
    assert located is not None
    assert located.path == program
    assert located.environment == {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}


def test_a_failed_installation_is_reported_and_leaves_no_files(
    bare_machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    apt = make_program(tmp_path / "bin" / "apt-get")
    apt.write_text("#!/bin/sh\necho no such package\nexit 100\n")
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(services, "START_POLICY", policy)
    assert services.provide("redis") is False
    message = capsys.readouterr().err
    assert "no such package" in message
    assert "The installation failed: " in message
    assert not policy.exists()
    assert services.locate("redis") is None


def test_a_program_that_is_not_portable_is_not_unpacked(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_program(tmp_path / "bin" / "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", "")
    assert services.main(["chromium"]) == 0
    assert "chromium is missing: install it (on Debian: apt install chromium)." in capsys.readouterr().err
    assert not bare_machine.exists()
