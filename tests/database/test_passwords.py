"""The file with the database's password: special characters, a change while connections are opened, and faults."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from flask import Flask
from psycopg2 import sql

from app import create_app
from app.components import components_of
from app.database import db
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import API, migrate, problem, settings_for

SPECIAL = """@:/?#%& '"$\\é%40"""


class Role:
    """A role with a database of its own, and the file with its password."""

    def __init__(self, server: PostgresServer, file: Path) -> None:
        self.name = f"gatepost_{secrets.token_hex(4)}"
        self.file = file
        self._admin_url = server.url
        database = urlsplit(server.create_database(self.name))
        self._execute("CREATE ROLE {} LOGIN SUPERUSER")
        self.url = urlunsplit(database._replace(netloc=f"{self.name}@{database.hostname}:{database.port}"))

    def set_password(self, password: str) -> None:
        self._execute("ALTER ROLE {} PASSWORD %s", password)

    def drop(self) -> None:
        self._execute("DROP ROLE {}")

    def _execute(self, statement: str, *values: str) -> None:
        connection = psycopg2.connect(self._admin_url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(self.name)), values)
        connection.close()


@pytest.fixture
def role(postgres: PostgresServer, tmp_path: Path) -> Iterator[Role]:
    """A role without a password."""
    role = Role(postgres, tmp_path / "password")
    yield role
    postgres.drop_database(role.name)
    role.drop()


@contextmanager
def application(role: Role) -> Iterator[Flask]:
    """An application that closes its connections at the end."""
    app = create_app(settings_for(role.url, database_password_file=str(role.file)))
    yield app
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


def read(app: Flask) -> Any:
    """Read from the database on a new connection."""
    with app.app_context():
        db.engine.dispose()
    return app.test_client().get(f"{API}/posts")


@pytest.mark.parametrize("password", [SPECIAL, "plain", "  with spaces  "])
def test_a_password_may_have_any_characters_for_requests_readiness_and_migrations(
    role: Role, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role.set_password(password)
    role.file.write_text(f"{password}\n")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(role.file))
    migrate(role.url)
    with application(role) as app:
        assert read(app).status_code == 200
        assert app.test_client().get("/health/ready").status_code == 200


def test_a_change_of_the_password_fails_no_new_connection(
    role: Role, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    role.set_password("first")
    role.file.write_text("first")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(role.file))
    migrate(role.url)
    statuses: list[int] = []
    over = threading.Event()

    def write_file(*passwords: str) -> None:
        (tmp_path / "new").write_text("".join(f"{password}\n" for password in passwords))
        (tmp_path / "new").replace(role.file)

    with application(role) as app:

        def read_often() -> None:
            while not over.is_set():
                statuses.append(read(app).status_code)

        def wait_for_reads() -> None:
            enough = len(statuses) + 3
            while len(statuses) < enough and reader.is_alive():
                over.wait(0.01)

        reader = threading.Thread(target=read_often)
        reader.start()
        for old, new in [("first", "second"), ("second", SPECIAL)]:
            wait_for_reads()
            write_file(old, new)
            wait_for_reads()
            role.set_password(new)
            wait_for_reads()
            write_file(new)
        wait_for_reads()
        over.set()
        reader.join()
    assert len(statuses) > 10
    assert set(statuses) == {200}


@pytest.mark.parametrize("content", [None, "", "\n", "wrong", "wrong\nalso wrong\n", b"\xff"])
def test_without_a_usable_password_the_database_is_unavailable_until_the_file_is_corrected(
    role: Role, content: str | bytes | None
) -> None:
    role.set_password("right")
    role.file.write_text("right")
    with application(role) as app:
        if content is None:
            role.file.unlink()
        else:
            role.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert problem(read(app)) == (503, "database_unavailable")
        assert app.test_client().get("/health/ready").status_code == 503
        role.file.write_text("wrong\nright")
        # The tables do not exist, so the database answered.
        assert app.test_client().get("/health/ready").get_json()["database"] == "ok"
