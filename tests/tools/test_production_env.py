"""tools/production_env.py and docker-compose.yml: the stack's environment, and how it reaches the containers."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.observability.tracing import ENDPOINT
from app.settings import ROOT, Settings, load_settings
from tools import production_env

COMPOSE = (ROOT / "docker-compose.yml").read_text()
START = (ROOT / "ops" / "nginx" / "start.sh").read_text()
# The image sets these: paths inside the container, and logs on standard output.
FIXED = {"APP_ENV", "BIND", "LOG_FILE"}


def block(start: str, end: str) -> str:
    """Return the part of docker-compose.yml between two texts."""
    return COMPOSE.split(start, 1)[1].split(end, 1)[0]


def names(text: str) -> set[str]:
    """Return the variables below `environment:` in a part of the file."""
    lines = text.split("environment:\n", 1)[1]
    return set(re.findall(r"^ {4,6}([A-Z_]+):", lines, re.MULTILINE))


def test_every_setting_reaches_the_application() -> None:
    settings = {field.name.upper() for field in dataclasses.fields(Settings)}
    given = names(block("x-app:", "\nservices:"))
    assert {name for name in given if not name.startswith("OTEL_")} == settings - FIXED
    # Read by app/observability/tracing.py.
    assert {ENDPOINT, "OTEL_SERVICE_NAME"} <= given


def test_nginx_gets_every_variable_that_it_reads() -> None:
    given = names(block("  nginx:\n", "\nnetworks:"))
    # These are for nginx without a container.
    places = {"APP_SERVERS", "NGINX_DIR", "NGINX_LISTEN", "NGINX_STATUS_LISTEN", "NGINX_TLS_DIR", "NGINX_TLS_LISTEN"}
    assert set(re.findall(r'^: "\$\{([A-Z_]+):=', START, re.MULTILINE)) == given | places | {"NGINX_WATCH_SECONDS"}


def test_every_placeholder_of_the_configuration_is_replaced() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)\}", (ROOT / "nginx.conf").read_text()))
    exported = START.split("\nexport ", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ").split()
    assert used == {*exported, "NAME"}


class TestFile:
    def test_a_new_file_contains_all_required_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert production_env.write_once(tmp_path / ".env")
        values = dotenv_values(tmp_path / ".env")
        assert set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE)) == set(values)
        password = values.pop("POSTGRES_PASSWORD")
        monkeypatch.setenv("APP_ENV", "production")
        monkeypatch.setenv("DATABASE_URL", f"postgresql://gatepost:{password}@db:5432/gatepost")
        for name, value in values.items():
            monkeypatch.setenv(name, value or "")
        assert load_settings().jwt_secret_key == values["JWT_SECRET_KEY"]

    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        production_env.write_once(tmp_path / ".env")
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600

    def test_the_secrets_are_different_each_time(self) -> None:
        secrets = re.findall(r"(?:PASSWORD|KEY)=(\S+)", production_env.fresh_environment())
        others = re.findall(r"(?:PASSWORD|KEY)=(\S+)", production_env.fresh_environment())
        assert len({*secrets, *others}) == 4

    def test_an_existing_file_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("MINE=1\n")
        assert not production_env.write_once(tmp_path / ".env")
        assert (tmp_path / ".env").read_text() == "MINE=1\n"


DOCKERS = {
    "not installed": (None, "Docker is required and is not installed.\n"),
    "not running": ("exit 1", "Docker is required and does not answer: start it, and check"),
    "without compose": ('test "$1" = version', "Docker has no compose plugin, version 2"),
    "complete": ("exit 0", ""),
}


@pytest.mark.parametrize(("script", "sentence"), DOCKERS.values(), ids=DOCKERS)
def test_a_problem_with_docker_is_reported_in_one_sentence(tmp_path: Path, script: str | None, sentence: str) -> None:
    if script is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
    answer = subprocess.run(
        [sys.executable, ROOT / "tools" / "production_env.py", "--check"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == (1 if sentence else 0)
    assert answer.stderr.startswith(sentence)
    assert answer.stderr.count("\n") == bool(sentence)
