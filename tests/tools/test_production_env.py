"""tools/production_env.py and docker-compose.yml: the stack's environment, and how it reaches the containers."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.observability.tracing import ENDPOINT
from app.settings import ROOT, load_settings
from app.settings.declarations import DECLARATIONS
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
    settings = {name.upper() for name in DECLARATIONS}
    given = names(block("x-app:", "\nservices:"))
    assert {name for name in given if not name.startswith("OTEL_")} == settings - FIXED
    # Read by app/observability/tracing.py.
    assert {ENDPOINT, "OTEL_SERVICE_NAME"} <= given


def test_nginx_gets_every_variable_that_it_reads() -> None:
    given = names(block("  nginx:\n", "\nnetworks:"))
    # These are for nginx without a container.
    places = {"APP_SERVERS", "NGINX_DIR", "NGINX_LISTEN", "NGINX_TLS_DIR", "NGINX_TLS_LISTEN"}
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
        production_env.prepare_password(tmp_path / "database" / "password", "")
        monkeypatch.setenv("APP_ENV", "production")
        monkeypatch.setenv("FEATURES", "")
        monkeypatch.setenv("DATABASE_URL", "postgresql://gatepost@db:5432/gatepost")
        monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "database" / "password"))
        for name, value in values.items():
            monkeypatch.setenv(name, value or "")
        assert load_settings().jwt_secret_key == values["JWT_SECRET_KEY"]

    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        production_env.write_once(tmp_path / ".env")
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600

    def test_the_secrets_are_different_each_time(self) -> None:
        secrets = re.findall(r"(?:PASSWORD|KEY)=(\S+)", production_env.fresh_environment())
        others = re.findall(r"(?:PASSWORD|KEY)=(\S+)", production_env.fresh_environment())
        assert len({*secrets, *others}) == 2

    def test_an_existing_file_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("MINE=1\n")
        assert not production_env.write_once(tmp_path / ".env")
        assert (tmp_path / ".env").read_text() == "MINE=1\n"


# Answers as `docker compose config` does to the project's question, with the environment in place of .env.
COMPOSE_CONFIG = (
    f"#!{sys.executable} -IS"
    """
import json, os, sys
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps([sys.argv[1:], sys.stdin.read()]) + "\\n")
if "config" in sys.argv:
    names = ("POSTGRES_PASSWORD", "DATABASE_PASSWORD_DIR")
    values = {name: os.environ.get(name, "").replace("$", "$$") for name in names}
    print(json.dumps({"services": {"variables": {"environment": values}}}))
elif "psql" in sys.argv:
    sys.exit(int(os.environ.get("PSQL_STATUS", "0")))
"""
)


class TestPassword:
    @pytest.fixture(autouse=True)
    def docker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Use this docker, and this folder in place of the project's."""
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "docker").write_text(COMPOSE_CONFIG)
        (tmp_path / "bin" / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("RECORD", str(tmp_path / "record"))
        monkeypatch.setattr(sys, "argv", ["production_env.py"])
        for name in ("ROOT", "ENV_FILE", "TLS_FOLDER", "SECRETS_FOLDER"):
            place = tmp_path / getattr(production_env, name).relative_to(ROOT)
            monkeypatch.setattr(production_env, name, place)

    def test_containers_can_read_the_file_and_other_users_of_the_machine_cannot(self, tmp_path: Path) -> None:
        assert production_env.main() == 0
        modes = {name: stat.S_IMODE((tmp_path / "var" / name).stat().st_mode) for name in FILES}
        assert modes == FILES
        first = (tmp_path / "var/secrets/database/password").read_text()
        assert len(first) > 30
        assert production_env.main() == 0
        assert (tmp_path / "var/secrets/database/password").read_text() == first

    def test_nginx_can_look_for_a_certificate_whatever_the_umask_is(self, tmp_path: Path) -> None:
        before = os.umask(0o077)
        try:
            assert production_env.main() == 0
        finally:
            os.umask(before)
        assert stat.S_IMODE(production_env.TLS_FOLDER.stat().st_mode) == 0o755
        # An operator who forbids it later has a reason.
        production_env.TLS_FOLDER.chmod(0o700)
        assert production_env.main() == 0
        assert stat.S_IMODE(production_env.TLS_FOLDER.stat().st_mode) == 0o700

    def test_a_password_that_is_set_is_taken_over_whatever_its_characters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("POSTGRES_PASSWORD", """@:/?#%& '"$\\é""")
        monkeypatch.setenv("DATABASE_PASSWORD_DIR", "elsewhere")
        assert production_env.main() == 0
        assert (tmp_path / "elsewhere/password").read_text() == """@:/?#%& '"$\\é\n"""
        assert "POSTGRES_PASSWORD, which can be removed" in capsys.readouterr().out
        monkeypatch.setenv("POSTGRES_PASSWORD", "another")
        assert production_env.main() == 0
        assert "POSTGRES_PASSWORD is not used" in capsys.readouterr().out

    def test_a_change_keeps_the_old_password_until_the_database_has_the_new_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        production_env.main()
        file = tmp_path / "var/secrets/database/password"
        old = file.read_text()
        monkeypatch.setattr(sys, "argv", ["production_env.py", "--change-password"])
        monkeypatch.setenv("PSQL_STATUS", "1")
        assert production_env.main() == 1
        assert file.read_text().startswith(old)
        assert len(file.read_text().splitlines()) == 2
        monkeypatch.delenv("PSQL_STATUS")
        assert production_env.main() == 0
        (new,) = file.read_text().splitlines()
        assert new not in old
        arguments, statement = json.loads((tmp_path / "record").read_text().splitlines()[-1])
        assert "psql" in arguments
        assert statement == f"ALTER ROLE gatepost PASSWORD '{new}'"
        assert new not in " ".join(arguments)


FILES = {"secrets": 0o700, "secrets/database": 0o755, "secrets/database/password": 0o644}


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
