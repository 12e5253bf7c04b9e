"""The commands of `flask --app run`: their list, how they report errors, and `config check`."""

from __future__ import annotations

import os
import pty
import re
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from app.database import db, fetch_all
from app.database.migrations import upgrade_all
from app.settings import ROOT
from app.settings.declarations import DECLARATIONS
from gatepost.testing.applications import application
from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.postgres import PostgresServer
from gatepost.testing.services.process import bare_environment
from tests.conftest import PASSWORD, migrate, settings_for

FLASK = (sys.executable, "-m", "flask", "--app", "run")
SECONDS = 60
CREATE_ADMIN = ("users", "create-admin", "--email", "dora@example.com", "--name", "Dora")
DATABASE_COMMANDS = [
    CREATE_ADMIN,
    ("users", "list"),
    ("users", "disable", "dora@example.com"),
    ("sessions", "prune"),
    ("maintenance", "on"),
    ("maintenance", "status"),
]


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    """Return the environment of a command: these settings, without the files of this checkout."""
    return {
        **bare_environment(),
        "FLASK_SKIP_DOTENV": "1",
        "APP_ENV": "testing",
        "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gatepost.db'}",
        **changes,
    }


def flask(env: Mapping[str, str], *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process, as an operator does."""
    command = [*FLASK, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=SECONDS, **options
    )


def test_help_has_a_line_for_each_command(app: Flask) -> None:
    runner = app.test_cli_runner()
    listed: dict[str, str] = {}
    for path in ([], ["users"], ["sessions"], ["keys"], ["config"], ["maintenance"]):
        shown = runner.invoke(args=[*path, "--help"]).output.partition("Commands:\n")[2]
        lines = re.findall(r"^  (\S+) {2,}(\S.*)$", shown, re.MULTILINE)
        listed |= {" ".join([*path, name]): words for name, words in lines}
    assert listed.keys() >= {
        "config check",
        "sessions prune",
        *(f"keys {name}" for name in ("generate", "list", "rotate")),
        *(f"maintenance {name}" for name in ("on", "off", "status")),
        *(
            f"users {name}"
            for name in ("create-admin", "list", "disable", "enable", "promote", "demote", "purge", "set-password")
        ),
    }
    assert [name for name, words in listed.items() if not words.endswith(".") or words.endswith("...")] == []


# Failures


def fail(app: Flask, *arguments: str) -> str:
    """Run a command that must fail, and return its message."""
    result = app.test_cli_runner().invoke(args=list(arguments), input=PASSWORD)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    return result.stderr


@pytest.fixture
def fresh_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"gatepost_{secrets.token_hex(4)}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.mark.parametrize("command", DATABASE_COMMANDS, ids=" ".join)
def test_a_database_without_tables_is_reported(fresh_url: str, command: tuple[str, ...]) -> None:
    with application(settings_for(fresh_url)) as app:
        message = fail(app, *command)
    assert message == "Error: The database does not have the tables of this version: run flask --app run db upgrade.\n"


@pytest.mark.parametrize("command", DATABASE_COMMANDS, ids=" ".join)
def test_an_unreachable_database_is_reported(command: tuple[str, ...]) -> None:
    url = f"postgresql://gatepost:hidden-words@{LOOPBACK}:{free_port()}/gatepost"
    with application(settings_for(url)) as app:
        message = fail(app, *command)
    assert message.startswith("Error: The database can't be reached: ")
    assert message.count("\n") == 1
    assert "hidden-words" not in message


def test_a_locked_database_is_reported(fresh_url: str, backend: str) -> None:
    with application(settings_for(fresh_url, db_lock_timeout_ms=200)) as app:
        with app.app_context():
            upgrade_all()
            assert fetch_all(text("SELECT id FROM users")) == []
        other = create_engine(fresh_url.replace("postgresql:", "postgresql+psycopg2:"))
        with other.connect() as connection:
            lock = "BEGIN IMMEDIATE" if backend == "sqlite" else "LOCK TABLE users"
            connection.execute(text(lock))
            message = fail(app, *CREATE_ADMIN)
        other.dispose()
    assert message.startswith("Error: The database does not answer: ")
    assert message.count("\n") == 1


def test_a_bug_keeps_its_traceback(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def list_nothing(*arguments: object) -> None:
        db.session.execute(text("INSERT INTO users (id) VALUES (1)"))

    monkeypatch.setattr("app.users.service.list_users_after", list_nothing)
    result = app.test_cli_runner().invoke(args=["users", "list"])
    assert isinstance(result.exception, IntegrityError)


# The terminal


@pytest.fixture
def migrated(tmp_path: Path) -> dict[str, str]:
    """An environment with a migrated SQLite database."""
    env = environment(tmp_path)
    migrate(env["DATABASE_URL"])
    return env


class Terminal:
    """A command that runs in a pseudo-terminal; `shown` is its output so far."""

    def __init__(self, env: Mapping[str, str], *arguments: str) -> None:
        self._keyboard, theirs = pty.openpty()
        self.shown = ""
        # In a new session, so that no question appears in the terminal that the tests run in.
        self.process = subprocess.Popen(
            [*FLASK, *arguments],
            cwd=ROOT,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)

    def answer(self, question: str, line: str) -> None:
        """Type a line when the output ends with `question`."""
        while not self.shown.endswith(question):
            assert self._read(), self.shown
        os.write(self._keyboard, line.encode())

    def end(self) -> int:
        """Wait for the end of the command and return its exit status."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        assert select.select([self._keyboard], [], [], SECONDS)[0], self.shown
        try:
            text = os.read(self._keyboard, 4096).decode()
        except OSError:  # Linux raises EIO when the other end is closed
            return False
        self.shown += text
        return bool(text)


def test_a_password_is_typed_twice_and_not_shown(migrated: dict[str, str]) -> None:
    with Terminal(migrated, *CREATE_ADMIN) as terminal:
        terminal.answer("Password: ", f"{PASSWORD}\n")
        terminal.answer("Password again: ", "a typing mistake\n")
        terminal.answer("Password: ", f"{PASSWORD}\n")
        terminal.answer("Password again: ", f"{PASSWORD}\n")
        assert terminal.end() == 0
    assert "Created administrator dora@example.com with id 1." in terminal.shown
    assert PASSWORD not in terminal.shown
    assert "a typing mistake" not in terminal.shown


def test_ctrl_c_at_a_prompt_ends_the_command(migrated: dict[str, str]) -> None:
    with Terminal(migrated, *CREATE_ADMIN) as terminal:
        # Ctrl-C sends a signal only in the controlling terminal of a session, which this one is not.
        terminal.answer("Password: ", "")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 1
    assert "Aborted!" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_a_password_is_read_from_a_pipe(migrated: dict[str, str]) -> None:
    done = flask(migrated, *CREATE_ADMIN, input=f"{PASSWORD}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Created administrator dora@example.com with id 1.\n"
    listed = flask(migrated, "users", "list").stdout.splitlines()
    assert listed[0].split() == ["ID", "EMAIL", "NAME", "ROLE", "ACTIVE", "CREATED"]
    assert listed[1].split()[:5] == ["1", "dora@example.com", "Dora", "admin", "yes"]


def test_a_closed_standard_input_is_reported(migrated: dict[str, str]) -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *FLASK, *CREATE_ADMIN]
    done = subprocess.run(command, cwd=ROOT, env=migrated, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: Standard input is empty. Its first line must be the password.\n",
    )


# config check


def test_config_check_prints_the_settings_without_secrets(tmp_path: Path) -> None:
    env = environment(
        tmp_path,
        DATABASE_URL="postgresql://anna:hidden1@hidden2@db.example/gatepost?sslpassword=hidden3",
        JWT_SECRET_KEY="hidden4-" + "0123456789abcdef" * 2,
        JWT_PREVIOUS_SECRET_KEYS="hidden5-" + "0123456789abcdef" * 2,
        REDIS_URL="redis://:hidden6@redis.example/0?password=hidden7&health_check_interval=5",
        CORS_ORIGINS="https://app.example.com,https://www.example.com",
        WEB_THREADS="6",
    )
    done = flask(env, "config", "check")
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert list(shown) == [name.upper() for name in DECLARATIONS]
    assert "hidden" not in done.stdout
    assert shown["DATABASE_URL"] == "postgresql+psycopg2://anna:***@db.example/gatepost?sslpassword=***"
    assert shown["REDIS_URL"] == "redis://:***@redis.example/0?password=***&health_check_interval=5"
    assert shown["CORS_ORIGINS"] == "https://app.example.com,https://www.example.com"
    assert (shown["WEB_THREADS"], shown["DB_POOL_SIZE"], shown["LOG_FILE"]) == ("6", "8", "")


@pytest.mark.parametrize("command", [("config", "check"), ("users", "list"), ("--help",)], ids=" ".join)
def test_all_problems_of_the_settings_are_reported_together(tmp_path: Path, command: tuple[str, ...]) -> None:
    env = environment(
        tmp_path,
        APP_ENV="production",
        DATABASE_URL=f"sqlite:///{tmp_path}",
        CORS_ORIGINS="*",
        JWT_SECRET_KEY_FILE=str(tmp_path / "nowhere"),
        LOG_FILE=str(tmp_path / "nowhere" / "log"),
        REDIS_URL="redis://redis.example:port",
        WEB_THREADS="many",
    )
    done = flask(env, *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "Invalid configuration: 6 settings need to be fixed.",
        "  CORS_ORIGINS: '*' is refused in production: list the origins.",
        "  DATABASE_URL: Must name a writable file.",
        "  JWT_SECRET_KEY: JWT_SECRET_KEY_FILE does not name a readable text file.",
        "  LOG_FILE: Must name a writable file.",
        "  REDIS_URL: The port must be a number from 1 to 65535.",
        "  WEB_THREADS: Must be a whole number from 1 to 256.",
    ]


def test_secrets_can_come_from_files(tmp_path: Path) -> None:
    secret, log = tmp_path / "secret", tmp_path / "log"
    secret.write_text("0123456789abcdef" * 2 + "\n")
    env = environment(tmp_path, JWT_SECRET_KEY_FILE=str(secret), LOG_FILE=str(log), JWT_SECRET_KEY="")
    assert flask(env, "config", "check").returncode == 0
    log.touch(mode=0o600)
    assert flask(env, "config", "check").returncode == 0
    secret.write_bytes(b"\xff" * 40)
    assert "JWT_SECRET_KEY_FILE does not name a readable text file" in flask(env, "config", "check").stderr
