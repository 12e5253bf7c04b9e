"""tools/javascript.py: error messages, and installations that are neither repeated nor incomplete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import javascript

OLDEST = "Node 20.19 or newer with npm"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without node and npm and a project with a lock file; returns the folder that contains both."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(path) if (path := tmp_path / "bin" / name).exists() else None)
    monkeypatch.setattr(javascript, "ROOT", tmp_path)
    (tmp_path / javascript.LOCK).write_text("{}")
    return tmp_path


def make_program(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def calls(machine: Path) -> int:
    """Return how often npm was called."""
    return len((machine / "calls").read_text().splitlines())


def test_a_missing_or_old_program_is_reported(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"node is missing: install {OLDEST}.\n"
    make_program(machine, "node", "echo v20.18.3")
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"npm is missing: install {OLDEST}.\n"
    make_program(machine, "npm", "")
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"{machine / 'bin' / 'node'} is v20.18.3: install {OLDEST}.\n"


def test_the_packages_are_installed_once_and_again_when_the_lock_changes(machine: Path) -> None:
    make_program(machine, "node", "echo v22.0.0")
    make_program(machine, "npm", f"mkdir -p node_modules && rm -f node_modules/.gatepost && echo $* >> {machine}/calls")
    for _ in range(2):
        assert javascript.main() == 0
        assert calls(machine) == 1
    (machine / javascript.LOCK).write_text('{"packages": {}}')
    assert javascript.main() == 0
    assert calls(machine) == 2
    assert (machine / "calls").read_text().startswith("ci --ignore-scripts ")


def test_a_failed_installation_is_reported_and_repeated(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_program(machine, "node", "echo v22.0.0")
    make_program(machine, "npm", f"echo once >> {machine}/calls; echo no network; exit 1")
    for count in (1, 2):
        assert javascript.main() == 1
        assert calls(machine) == count
        message = capsys.readouterr().err
        assert "no network" in message
        assert "Traceback" not in message


def test_a_command_that_times_out_is_ended_and_its_output_shown(machine: Path) -> None:
    with pytest.raises(javascript.NodeFailed, match=r"timed out after 0\.5 seconds\.\nbegun"):
        javascript.run(["/bin/sh", "-c", "echo begun; exec sleep 60"], timeout_seconds=0.5)
