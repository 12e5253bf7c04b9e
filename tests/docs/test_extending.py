"""The guide for developers of features: its commands run, and its code is that of the examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gatepost.testing.services import ServiceMissing, free_port, skip_or_fail
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SHOWN_URL = "http://127.0.0.1:8000"
# What a checkout has that the commands use.
PARTS = ("app", "gatepost", "migrations", "run.py", "gunicorn.conf.py", "pyproject.toml")
# A guard against hanging.
SECONDS = 600
SERVE = """
python run.py > server.log 2>&1 &
trap 'kill %1 && wait %1' EXIT
for attempt in $(seq 300); do curl -sf "$URL/health" > health.json && break; sleep 0.2; done
"""


def blocks(section: str) -> list[str]:
    """Return the shell commands of a section, block by block."""
    return re.findall(r"```sh\n(.*?)```", section_of(section), re.DOTALL)


def section_of(title: str) -> str:
    """Return the text of a section."""
    return GUIDE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def snippets() -> list[tuple[str, str]]:
    """Return the Python code of the guide with the file that it is from."""
    return re.findall(r"^In \[(\S+)\]\(\S+\):\n\n```python\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("path", "code"), snippets(), ids=[path for path, _ in snippets()])
def test_the_code_is_that_of_the_example(path: str, code: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    for part in code.split("# …\n"):
        assert part.strip("\n") in source


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall("^## (.+)$", GUIDE, re.MULTILINE)
    }
    assert {*re.findall(r"\]\(#([^)]+)\)", GUIDE)} <= anchors


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the commands use of a checkout, with the virtual environment of this one."""
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            skip_or_fail(ServiceMissing(f"{program} is missing: install it to test docs/extending.md."))
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.mark.slow
def test_a_new_feature_is_written_tested_served_and_dropped(checkout: Path) -> None:
    setup, scaffold, switch_on, serve, calls = blocks("Write the first version")
    assert (setup, serve) == ("make venv\n. .venv/bin/activate\n", "make run\n")
    [change] = blocks("Migrations")
    drop = blocks("Production")[-1]
    url = f"http://127.0.0.1:{free_port()}"
    # The conformance tests run on one database here: those of other scaffolded features run on both.
    switch_on, command, test = switch_on.rpartition("pytest ")
    conformance = f"{switch_on}python -m pytest -q {test.strip()} -k sqlite"
    assert command
    steps = [". .venv/bin/activate", scaffold, conformance, SERVE, calls.replace(SHOWN_URL, url), change, drop]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(checkout),
        "DATABASE_URL": f"sqlite:///{checkout}/var/gatepost.db",
        "BIND": url.removeprefix("http://"),
        "URL": url,
        "no_proxy": "*",
    }
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(steps),
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"text":"Buy milk"' in done.stdout
    assert '"pagination"' in done.stdout
    # The models have not changed.
    assert "no revision is needed" in done.stdout
    assert "Deleted notes (1 row)." in done.stdout
