"""The README says what is so: its tour runs as printed, and its commands, variables and links exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask.cli import FlaskGroup, ScriptInfo

from app import create_app
from app.settings import Settings
from gatepost.testing.races import Arena
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.process import bare_environment
from tests.conftest import PATIENT, ROOT, NewDatabase, migrate, settings_for

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
def server(new_database: NewDatabase) -> Iterator[GatepostServer]:
    """A real server whose database is empty, and whose grace period is short: the tour waits for its end."""
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            skip_or_fail(ServiceMissing(f"{program} is missing: install it to test the README."))
    url = new_database()
    migrate(url)
    environment = {"DATABASE_URL": url, "RATELIMIT_ENABLED": "false", "REFRESH_GRACE_SECONDS": "1"}
    with GatepostServer({**environment, **PATIENT}) as server, Arena.of(server).watched():
        yield server


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
    assert [command for command in commands if command.startswith("sleep 10\n")]
    seen = run([command.replace("sleep 10\n", "sleep 1.1\n") for command in commands], server.url)
    assert [normalised(output) for output in seen] == [normalised(output) for output in shown]
    # The tour walks through all of it, and each step has an answer.
    assert {"201", "200", "204", "401", "422"} <= set(re.findall(r"^\d{3}$", "".join(shown), re.MULTILINE))
    assert all(shown[1:])


def test_no_token_is_printed() -> None:
    assert "eyJ" in README
    assert not re.search(r"eyJ\w", README)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert {"run", "dev", "test", "lint"} <= named <= targets


def test_the_flask_commands_exist(tmp_path: Path) -> None:
    app = create_app(settings_for(f"sqlite:///{tmp_path / 'unused.db'}"))
    flask = FlaskGroup(create_app=lambda: app)
    paths = re.findall(r"flask --app run ([a-z]+(?: [a-z][a-z-]*)*)", README)
    assert len(paths) > 5
    # Closed at the end: looking a command up enters the application's context.
    with click.Context(flask, obj=ScriptInfo(create_app=lambda: app)) as context:
        for path in [*paths, *(f"users {verb}" for verb in ("disable", "enable", "promote", "demote"))]:
            command: click.Command | None = flask
            for word in path.split():
                assert isinstance(command, click.Group), path
                command = command.get_command(context, word)
            assert command is not None, path


def test_the_variables_exist() -> None:
    names = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\w+)?`", README)) - {"JWT_SECRET_KEY_FILE", "TEST_DATABASE_URL"}
    assert names
    assert {name.lower() for name in names} <= set(Settings.__dataclass_fields__)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
