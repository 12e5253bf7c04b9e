"""The README says what is so: its tour runs as printed, and its commands, variables and links exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from flask import Flask

from app.settings import Settings
from tests.concurrency.race import Arena
from tests.conftest import ROOT, empty
from tests.services import ServiceMissing, skip_or_fail
from tests.services.gunicorn import GatepostServer
from tests.services.process import bare_environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN_URL = "http://127.0.0.1:8000"
TOUR_SECONDS = 60
# Between the outputs of two blocks; no answer holds it.
MARK = "=== end of block ==="
# What differs from one run to the next, and what the README shows in its place or might.
VARYING = (
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "eyJ…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "TIME"),
    (re.compile(r'"request_id": "[0-9a-f]+"'), '"request_id": "ID"'),
    (re.compile(r'"id": \d+'), '"id": ID'),
)


def tour() -> list[tuple[str, str]]:
    """Return every block of the tour with the output that the README shows below it, "" for none."""
    text = README.partition("## A tour with curl\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(blocks) > 8
    return blocks


def normalised(output: str) -> str:
    """Return an output without what differs from one run to the next."""
    for pattern, replacement in VARYING:
        output = pattern.sub(replacement, output)
    return output


@pytest.fixture
def server(shared_server: GatepostServer) -> Iterator[GatepostServer]:
    """A real server whose database is empty."""
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            skip_or_fail(ServiceMissing(f"{program} is missing: install it to test the README."))
    arena = Arena.of(shared_server)
    empty(arena.engine)
    with arena.watched():
        yield shared_server


def run(blocks: list[str], url: str) -> list[str]:
    """Run blocks one after the other in one shell; return the output of each, errors included."""
    script = f"\necho '{MARK}'\n".join(["exec 2>&1", *blocks]).replace(SHOWN_URL, url)
    environment = bare_environment() | {"no_proxy": "*"}
    answer = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, timeout=TOUR_SECONDS, check=True, env=environment
    )
    assert answer.stderr == ""
    return answer.stdout.split(f"{MARK}\n")[1:]


def test_the_tour_runs_as_printed(server: GatepostServer) -> None:
    commands, shown = zip(*tour(), strict=True)
    seen = run(list(commands), server.url)
    assert [normalised(output) for output in seen] == [normalised(output) for output in shown]
    # The tour walks through all of it, and each step has an answer.
    assert {"201", "200", "204", "401", "422"} <= set(re.findall(r"^\d{3}$", "".join(shown), re.MULTILINE))
    assert all(shown[1:])


def test_no_token_is_printed(server: GatepostServer) -> None:
    assert "eyJ" in README
    assert not re.search(r"eyJ\w", README)


def test_the_commands_exist(shared_app: Flask) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", README.replace("`make`", "")))
    assert {"run", "dev", "test", "lint"} <= named <= targets
    paths = re.findall(r"flask --app run ((?:[a-z-]+ ?)+)", README)
    assert len(paths) > 5
    for path in paths:
        group = shared_app.cli
        for word in path.split():
            found = group.commands.get(word) if hasattr(group, "commands") else None
            assert found is not None, path
            group = found  # type: ignore[assignment]
    users = shared_app.cli.commands["users"].commands  # type: ignore[attr-defined]
    assert {"disable", "enable", "promote", "demote"} <= users.keys()


def test_the_variables_exist() -> None:
    names = set(re.findall(r"`([A-Z_]{4,})(?:=\w+)?`", README)) - {"JWT_SECRET_KEY_FILE", "TEST_DATABASE_URL"}
    assert names
    assert {name.lower() for name in names} <= set(Settings.__dataclass_fields__)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
