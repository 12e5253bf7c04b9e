"""tools/javascript.py: a sentence for each obstacle, and no installation done twice or by half."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import javascript

OLDEST = "Node 20.19 or newer with npm"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with neither node nor npm, and a project with a lock; returns the folder of both."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(path) if (path := tmp_path / "bin" / name).exists() else None)
    monkeypatch.setattr(javascript, "ROOT", tmp_path)
    monkeypatch.setattr(javascript, "LOCK", tmp_path / "package-lock.json")
    monkeypatch.setattr(javascript, "STAMP", tmp_path / "node_modules" / ".gatepost")
    javascript.LOCK.write_text("{}")
    return tmp_path


def make_program(machine: Path, name: str, script: str) -> None:
    path = machine / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def calls(machine: Path) -> int:
    """How often npm was asked to install."""
    return len((machine / "calls").read_text().splitlines())


def test_what_is_missing_or_too_old_is_told_in_one_sentence(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"node is missing: install {OLDEST}.\n"
    make_program(machine, "node", "echo v20.18.3")
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"npm is missing: install {OLDEST}.\n"
    make_program(machine, "npm", "")
    assert javascript.main() == 1
    assert capsys.readouterr().err == f"{machine / 'bin' / 'node'} is v20.18.3: install {OLDEST}.\n"


def test_the_lock_is_installed_once_and_again_when_it_changes(machine: Path) -> None:
    make_program(machine, "node", "echo v22.0.0")
    make_program(machine, "npm", f"mkdir -p node_modules && rm -f node_modules/.gatepost && echo $* >> {machine}/calls")
    for _ in range(2):
        assert javascript.main() == 0
        assert calls(machine) == 1
    javascript.LOCK.write_text('{"packages": {}}')
    assert javascript.main() == 0
    assert calls(machine) == 2
    assert (machine / "calls").read_text().startswith("ci --ignore-scripts ")


def test_a_failed_installation_is_told_and_tried_again(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_program(machine, "node", "echo v22.0.0")
    make_program(machine, "npm", f"echo once >> {machine}/calls; echo no network; exit 1")
    for count in (1, 2):
        assert javascript.main() == 1
        assert calls(machine) == count
        words = capsys.readouterr().err
        assert "no network" in words
        assert "Traceback" not in words


def test_what_takes_too_long_is_ended_with_its_words(machine: Path) -> None:
    with pytest.raises(javascript.NodeFailed, match=r"took too long.\nbegun"):
        javascript.run(["/bin/sh", "-c", "echo begun; exec sleep 60"], timeout_seconds=0.5)
