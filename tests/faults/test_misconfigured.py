"""A database that answers but is not what Gatepost needs: its encoding, missing rights, schemas, roles."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask

from app import create_app
from app.components import components_of
from app.database import db
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import API, PASSWORD, ROOT, migrate, problem, settings_for
from tests.support.loglines import logged

UNAVAILABLE = (503, "database_unavailable")


@contextmanager
def application(url: str) -> Iterator[Flask]:
    """An application that closes its connections at the end."""
    app = create_app(settings_for(url))
    yield app
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


def write(app: Flask, name: str = "Zoë") -> int | tuple[int, str]:
    """Create an account; return the status, and the code of a problem."""
    account = {"email": f"{secrets.token_hex(4)}@example.com", "name": name, "password": PASSWORD}
    response = app.test_client().post(f"{API}/auth/register", json=account)
    return response.status_code if response.status_code < 400 else problem(response)


def ready(app: Flask) -> tuple[int, str, str]:
    """Return the status of /health/ready, and the states of the database and the migrations in it."""
    response = app.test_client().get("/health/ready")
    document = response.get_json()
    return response.status_code, document["database"], document["migrations"]


def reasons_of(app: Flask) -> tuple[str, str]:
    """Write and check readiness; return the reasons that these have logged."""
    with logged() as log:
        assert write(app) == UNAVAILABLE
        assert ready(app)[0] == 503
        ready(app)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert not [line for line in lines if "exception" in line]
    request, readiness = (line["reason"] for line in lines if "reason" in line)
    return request, readiness


def upgrade(url: str) -> tuple[int, list[str]]:
    """Run `flask db upgrade`; return the exit code and the lines of its output, without those of the log."""
    environ = os.environ | {"APP_ENV": "testing", "DATABASE_URL": url, "JWT_SECRET_KEY": "k" * 40}
    command = [sys.executable, "-m", "flask", "--app", "run", "db", "upgrade"]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    lines = (run.stdout + run.stderr).splitlines()
    return run.returncode, [line for line in lines if not line.startswith("INFO")]


def refused(url: str) -> str:
    """Run `flask db upgrade`, which must fail with one line, and return that."""
    code, lines = upgrade(url)
    assert (code, len(lines)) == (1, 1), lines
    return lines[0]


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"gatepost_{secrets.token_hex(4)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def role(postgres: PostgresServer) -> Iterator[str]:
    """A role without any right but to connect; its password is its name."""
    name = f"role_{secrets.token_hex(4)}"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    postgres.execute(f"DROP ROLE {name}")


def with_role(url: str, role: str, password: str | None = None) -> str:
    """Return a URL with another role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{password or role}@{parts.hostname}:{parts.port}").geturl()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_in_utf8_is_refused(postgres: PostgresServer, encoding: str) -> None:
    name = f"gatepost_{secrets.token_hex(4)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    url = urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    sentence = f"The encoding of the database is {encoding}, but Gatepost needs UTF8: create a database with"
    try:
        assert sentence in refused(url)
        with application(url) as app:
            assert all(reason.startswith(sentence) for reason in reasons_of(app))
            assert ready(app) == (503, "misconfigured", "unknown")
    finally:
        postgres.drop_database(name)


def owned(postgres: PostgresServer, url: str, *statements: str) -> None:
    """Execute statements as the owner of the tables."""
    for statement in statements:
        postgres.execute(statement, urlsplit(url).path[1:])


def test_a_missing_right_is_a_fault_of_the_configuration(postgres: PostgresServer, url: str, role: str) -> None:
    migrate(url)
    with application(with_role(url, role)) as app:
        request, readiness = reasons_of(app)
        assert request.startswith("The role of DATABASE_URL lacks a right (permission denied for table ")
        assert readiness == "The role of DATABASE_URL lacks a right (permission denied for table alembic_version)."
        assert ready(app) == (503, "misconfigured", "unknown")
        owned(postgres, url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        assert ready(app) == (503, "misconfigured", "ok")
        tables = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        owned(postgres, url, tables)
        assert ready(app) == (503, "misconfigured", "ok"), "the sequences of the ids"
        assert write(app) == UNAVAILABLE
        owned(postgres, url, f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        assert ready(app) == (200, "ok", "ok")
        assert write(app) == 201
        # As after a migration that adds a table, without default privileges.
        owned(postgres, url, f"REVOKE INSERT ON posts FROM {role}")
        with logged() as log:
            assert ready(app) == (503, "misconfigured", "ok")
        assert "lacks the right to read or change: posts." in log.getvalue()
        owned(postgres, url, f"GRANT INSERT ON posts TO {role}")
        for right in ("UPDATE", "DELETE"):
            owned(postgres, url, f"REVOKE {right} ON sessions FROM {role}")
            assert ready(app) == (503, "misconfigured", "ok"), right
            owned(postgres, url, f"GRANT {right} ON sessions TO {role}")
        assert ready(app) == (200, "ok", "ok")
    owned(postgres, url, f"DROP OWNED BY {role}")


def test_a_command_without_the_right_to_write(postgres: PostgresServer, url: str, role: str) -> None:
    migrate(url)
    owned(postgres, url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    with application(with_role(url, role)) as app:
        result = app.test_cli_runner().invoke(args=["maintenance", "on"])
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert "The role of DATABASE_URL lacks a right (permission denied for table service_context)." in result.output
    owned(postgres, url, f"DROP OWNED BY {role}")


def test_an_upgrade_without_the_right_to_create(url: str, role: str) -> None:
    line = refused(with_role(url, role))
    assert "nothing was changed. The role of DATABASE_URL lacks a right (permission denied for schema public" in line


def test_a_search_path_without_a_schema(url: str) -> None:
    migrate(url)
    nowhere = f"{url}?options=-csearch_path%3Dnowhere"
    assert "The search_path has no schema that exists (no schema has been selected" in refused(nowhere)
    with application(nowhere) as app:
        with logged() as log:
            assert write(app) == UNAVAILABLE
        assert "run: flask --app run db upgrade (relation" in json.loads(log.getvalue().splitlines()[0])["reason"]
        assert ready(app) == (503, "ok", "unknown")


def test_a_refused_login_is_logged_with_its_reason(postgres: PostgresServer, url: str, role: str) -> None:
    for wrong, reason in (
        (with_role(url, role, "wrong"), f'password authentication failed for user "{role}"'),
        (with_role(url, "nobody_here"), 'password authentication failed for user "nobody_here"'),
        (urlsplit(url)._replace(path="/no_such_database").geturl(), 'database "no_such_database" does not exist'),
    ):
        assert reason in refused(wrong)
        with application(wrong) as app:
            assert all(reason in found for found in reasons_of(app))
            assert ready(app) == (503, "unavailable", "unknown")


def test_a_sqlite_file_that_cannot_be_written_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'gatepost.db'}"
    migrate(url)
    with application(url) as app:
        assert ready(app) == (200, "ok", "ok")
        # Permissions do not stop root, and the tests may run as root.
        monkeypatch.setattr("app.observability.health.os.access", lambda path, mode: path != tmp_path)
        assert ready(app) == (503, "read_only", "ok")


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    path.write_bytes(b"no database " * 100)
    assert "file is not a database" in refused(f"sqlite:///{path}")
