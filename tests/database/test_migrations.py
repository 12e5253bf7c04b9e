"""The migrations: they are reversible, match the models and preserve existing rows."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Connection, MetaData, Table, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from app import create_app
from app.components import components_of
from app.database import db
from app.database.migrations import core_line, known_revisions, newest_revisions
from gatepost.testing.schemas import describe
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import ROOT, settings_for

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
# The tables of the core and of the built-in features, which the core's line creates.
TABLES = core_line().tables
USER = {
    "email": "ä@example.com",
    "email_key": "ä@example.com",
    "name": "Ä",
    "name_key": "ä",
    "password_hash": "$argon2id$x",
    "created_at": NOW,
    "updated_at": NOW,
}
# For each revision that adds a table, one row as the application of that revision wrote it.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "0001": ("users", USER),
    "0002": (
        "sessions",
        {
            "user_id": 1,
            "generation": 3,
            "created_at": NOW,
            "rotated_at": NOW,
            "last_used_at": NOW,
            "expires_at": NOW,
            "idle_expires_at": NOW,
            "user_agent": "x",
            "ip": "127.0.0.1",
        },
    ),
    "0003": (
        "posts",
        {
            "author_id": 1,
            "title": "T",
            "content": "C",
            "status": "draft",
            "created_at": NOW,
            "updated_at": NOW,
        },
    ),
    "0004": (
        "idempotency_keys",
        {
            "user_id": 1,
            "key": "k",
            "fingerprint": b"\x00\xff",
            "status": 201,
            "location": "/",
            "etag": '"x"',
            "body": b"{}",
            "created_at": NOW,
        },
    ),
    "0005": ("service_context", {"id": 1, "maintenance": True, "message": "Back at noon.", "updated_at": NOW}),
    # Neither the user nor the session exists.
    "0006": (
        "auth_events",
        {"created_at": NOW, "event": "logged_in", "user_id": 98, "actor": "self", "actor_id": 98, "session_id": 99},
    ),
    "0008": ("rate_limits", {"key": "k", "hits": 1, "started_at": NOW, "expires_at": NOW}),
}


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    name = f"gatepost_{secrets.token_hex(4)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def empty_app(empty_url: str) -> Iterator[Flask]:
    """Return an application without features of others, on a database without tables."""
    app = create_app(settings_for(empty_url, features=()))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


Look = Callable[[Callable[[Connection], Any]], Any]


@pytest.fixture
def look(empty_url: str) -> Look:
    """Return a function that runs another function on a new connection."""

    def run(question: Callable[[Connection], Any]) -> Any:
        engine = create_engine(settings_for(empty_url).database_url, poolclass=NullPool)
        with engine.begin() as connection:
            return question(connection)

    return run


def tables(connection: Connection) -> set[str]:
    """Return the names of the tables without Alembic's."""
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def revisions() -> list[str]:
    """Return all revisions from the first to the newest."""
    script = ScriptDirectory(str(ROOT / "migrations"))
    return [revision.revision for revision in script.walk_revisions()][::-1]


def add_row(connection: Connection, name: str, row: dict[str, Any]) -> None:
    """Insert a row into a table as it is at this revision, with the defaults of the database."""
    table = Table(name, MetaData(), autoload_with=connection)
    if connection.dialect.name == "sqlite":
        row = {k: v.replace(tzinfo=None) if isinstance(v, datetime) else v for k, v in row.items()}
    connection.execute(table.insert(), row)


def rows_of(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table, in the same types for both drivers."""
    found = connection.execute(text(f"SELECT * FROM {name}")).mappings()
    return [
        {key: bytes(value) if isinstance(value, memoryview) else value for key, value in row.items()} for row in found
    ]


def test_up_down_and_up_again(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade()
    assert look(tables) == TABLES
    first = look(describe)
    flask_migrate.downgrade(revision="base")
    assert look(tables) == set()
    flask_migrate.upgrade()
    assert look(describe) == first


def test_every_single_step_is_reversible(empty_app: Flask, look: Look) -> None:
    states = []
    for revision in revisions():
        states.append(look(describe))
        flask_migrate.upgrade(revision=revision)
    for state in states[:0:-1]:
        flask_migrate.downgrade(revision="-1")
        assert look(describe) == state


def test_models_and_migrations_agree(empty_app: Flask) -> None:
    """`flask db check` exits if the models and the migrations differ."""
    flask_migrate.upgrade()
    flask_migrate.check()


def test_upgrading_twice_changes_nothing(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade()
    before = look(describe)
    flask_migrate.upgrade()
    assert look(describe) == before


def test_there_is_one_line_of_revisions() -> None:
    script = ScriptDirectory(str(ROOT / "migrations"))
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    for revision in script.walk_revisions():
        assert revision.doc
        assert not revision.is_merge_point
    assert newest_revisions() == set(script.get_heads())
    assert known_revisions() == {revision.revision for revision in script.walk_revisions()}


def test_an_upgrade_keeps_every_row(empty_app: Flask, look: Look) -> None:
    """A row is inserted at each revision and read at each later one, because a step may copy a table."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for revision in revisions():
        flask_migrate.upgrade(revision=revision)
        for name, before in kept.items():
            after = look(partial(rows_of, name=name))
            assert [{k: row[k] for k in old} for old, row in zip(before, after, strict=True)] == before
        if revision in ROWS:
            name, row = ROWS[revision]
            look(partial(add_row, name=name, row=row))
            kept[name] = look(partial(rows_of, name=name))
            assert len(kept[name]) == 1
    assert kept.keys() == TABLES


def test_the_defaults_of_a_new_row_are_the_database_s(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade()
    look(partial(add_row, name="users", row=USER))
    [row] = look(partial(rows_of, name="users"))
    assert (row["role"], row["bio"], bool(row["is_active"]), bool(row["email_verified"])) == ("user", "", True, False)


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("users", {"role": "root"}),
        ("users", {"email_key": None}),
        ("posts", {"status": "gone"}),
        ("posts", {"author_id": 99}),
        ("sessions", {"user_id": 99}),
        ("idempotency_keys", {"user_id": 99}),
        ("service_context", {"id": 2}),
        ("service_context", {"updated_at": None}),
        ("auth_events", {"actor": "root"}),
        ("auth_events", {"event": None}),
    ],
)
def test_the_database_refuses_invalid_rows(empty_app: Flask, look: Look, table: str, changes: dict[str, Any]) -> None:
    flask_migrate.upgrade()
    rows = dict(ROWS.values())
    look(partial(add_row, name="users", row=USER))
    another = {"email_key": "other"} if table == "users" else {}
    row = rows[table] | another | changes
    with pytest.raises(IntegrityError), db.engine.begin() as connection:
        add_row(connection, table, row)


@pytest.mark.parametrize("table", ["users", "idempotency_keys", "service_context", "rate_limits"])
def test_what_must_be_unique_is(empty_app: Flask, look: Look, table: str) -> None:
    flask_migrate.upgrade()
    row = dict(ROWS.values())[table]
    look(partial(add_row, name="users", row=USER))
    if table != "users":
        look(partial(add_row, name=table, row=row))
    with pytest.raises(IntegrityError), db.engine.begin() as connection:
        add_row(connection, table, row)


@pytest.mark.parametrize("where", ["", " WHERE id = 1"])
def test_an_event_can_be_added_and_not_changed(empty_app: Flask, look: Look, where: str) -> None:
    flask_migrate.upgrade()
    name, row = ROWS["0006"]
    look(partial(add_row, name=name, row=row))
    before = look(partial(rows_of, name=name))
    with pytest.raises(IntegrityError, match="auth_events is append-only"), db.engine.begin() as connection:
        connection.execute(text(f"UPDATE auth_events SET user_id = NULL{where}"))
    look(partial(add_row, name=name, row=row))
    assert look(partial(rows_of, name=name))[:1] == before


def test_a_user_s_end_leaves_the_events(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade()
    look(partial(add_row, name="users", row=USER))
    look(partial(add_row, name="auth_events", row=ROWS["0006"][1] | {"user_id": 1, "actor_id": 1}))
    with db.engine.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    assert [row["user_id"] for row in look(partial(rows_of, name="auth_events"))] == [1]


def test_the_sql_can_be_written_out_for_review(empty_app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    flask_migrate.upgrade(sql=True)
    sql = capsys.readouterr().out
    for name in TABLES:
        assert f"CREATE TABLE {name} (" in sql
    assert "INSERT INTO alembic_version" in sql


def test_a_migration_that_fails_leaves_nothing_half_done(
    empty_app: Flask, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    flask_migrate.upgrade(revision="0001")
    before = look(describe)
    create_index = op.create_index

    def fail(name: str, *arguments: Any, **options: Any) -> Any:
        if "posts" in name:
            raise OSError("out of disk")
        return create_index(name, *arguments, **options)

    monkeypatch.setattr(op, "create_index", fail)
    with pytest.raises(OSError, match="out of disk"):
        flask_migrate.upgrade()
    assert look(describe) == before
    monkeypatch.undo()
    flask_migrate.upgrade()
    assert look(tables) == TABLES


def test_two_that_migrate_at_once_do_not_meet(empty_url: str, look: Look) -> None:
    """Several replicas start simultaneously: one migrates, the others wait and find nothing to do."""

    def start() -> subprocess.Popen[str]:
        environ = os.environ | {
            "APP_ENV": "testing",
            "FEATURES": "",
            "DATABASE_URL": empty_url,
            "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
        }
        command = [sys.executable, "-m", "flask", "--app", "run", "db", "upgrade"]
        return subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)

    started = [start() for _ in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert look(tables) == TABLES


def test_readiness_follows_the_schema(empty_app: Flask) -> None:
    client = empty_app.test_client()
    assert client.get("/health/ready").get_json()["migrations"] == "unknown"
    flask_migrate.upgrade(revision="0001")
    pending = client.get("/health/ready")
    assert (pending.status_code, pending.get_json()["migrations"]) == (503, "pending")
    flask_migrate.upgrade()
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.get_json()["migrations"]) == (200, "ok")


def set_revision(name: str) -> None:
    """Set the revision that the database records as applied."""
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": name})


def test_a_schema_newer_than_the_code_is_ready(empty_app: Flask) -> None:
    flask_migrate.upgrade()
    set_revision("from-the-future")
    ahead = empty_app.test_client().get("/health/ready")
    assert (ahead.status_code, ahead.get_json()["migrations"]) == (200, "ahead")


def test_after_a_step_back_of_the_code_an_upgrade_has_nothing_to_do(
    empty_app: Flask, look: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    flask_migrate.upgrade()
    set_revision("from-the-future")
    before = look(describe)
    capsys.readouterr()
    for revision in ("head", "heads"):
        flask_migrate.upgrade(revision=revision)
        assert capsys.readouterr().out == "The database is ahead of this code: nothing to do.\n"
    assert look(describe) == before
    assert look(partial(rows_of, name="alembic_version")) == [{"version_num": "from-the-future"}]


def test_what_names_a_revision_must_know_the_database_s(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade()
    set_revision("from-the-future")
    before = look(describe)
    for command in (
        partial(flask_migrate.upgrade, revision="0002"),
        partial(flask_migrate.downgrade, revision="-1"),
        partial(flask_migrate.downgrade, revision="base"),
        flask_migrate.check,
    ):
        with pytest.raises(SystemExit):
            command()
    assert look(describe) == before
    assert look(partial(rows_of, name="alembic_version")) == [{"version_num": "from-the-future"}]


def add_accounts(connection: Connection, accounts: dict[str, str]) -> None:
    """Insert accounts, given as keys by address."""
    for email, key in accounts.items():
        add_row(connection, "users", USER | {"email": email, "email_key": key})


def keys_of(connection: Connection) -> dict[str, str]:
    """Return the keys of all accounts by address."""
    return {row.email: row.email_key for row in connection.execute(text("SELECT email, email_key FROM users"))}


# As the application wrote them up to revision 0008. The key of the third address becomes that of the fourth.
FOLDED = {
    "ann@example.com": "ann@example.com",
    "Max@straße.de": "max@strasse.de",
    "σας@example.com": "σασ@example.com",
    "ΝΊΚΟΣ@example.com": "νίκοσ@example.com",
    "İ@example.com": "i̇@example.com",
    # Written by an import.
    "d@xn--mnchen-3ya.de": "d@xn--mnchen-3ya.de",
}
LOWERED = FOLDED | {
    "Max@straße.de": "max@straße.de",
    "σας@example.com": "σας@example.com",
    "ΝΊΚΟΣ@example.com": "νίκος@example.com",
    "d@xn--mnchen-3ya.de": "d@münchen.de",
}


def test_the_keys_of_addresses_are_migrated_and_back(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade(revision="0008")
    look(partial(add_accounts, accounts=FOLDED))
    flask_migrate.upgrade(revision="0010")
    assert look(keys_of) == LOWERED
    look(partial(add_accounts, accounts={"max@bücher.de": "max@bücher.de"}))
    flask_migrate.downgrade(revision="0008")
    assert look(keys_of) == FOLDED | {"max@bücher.de": "max@bücher.de", "d@xn--mnchen-3ya.de": "d@xn--mnchen-3ya.de"}


def test_keys_that_change_places_are_migrated(empty_app: Flask, look: Look) -> None:
    """An import may have stored the key of one account with another one."""
    flask_migrate.upgrade(revision="0008")
    look(partial(add_accounts, accounts={"ä@example.com": "ö@example.com", "ö@example.com": "ä@example.com"}))
    flask_migrate.upgrade()
    assert look(keys_of) == {"ä@example.com": "ä@example.com", "ö@example.com": "ö@example.com"}


@pytest.mark.parametrize(
    ("start", "accounts", "pair"),
    [
        ("0008", {"ä@example.com": "one", "Ä@example.com": "two"}, ("ä@example.com", "Ä@example.com")),
        (
            "0008",
            {"d@münchen.de": "d@münchen.de", "d@xn--mnchen-3ya.de": "d@xn--mnchen-3ya.de"},
            ("d@münchen.de", "d@xn--mnchen-3ya.de"),
        ),
        (
            "0010",
            {"max@strasse.de": "max@strasse.de", "max@straße.de": "max@straße.de"},
            ("max@strasse.de", "max@straße.de"),
        ),
    ],
    ids=["upgrade", "upgrade, A-label", "downgrade"],
)
def test_keys_that_would_collide_stop_the_migration_and_are_named(
    empty_app: Flask,
    look: Look,
    caplog: pytest.LogCaptureFixture,
    start: str,
    accounts: dict[str, str],
    pair: tuple[str, str],
) -> None:
    flask_migrate.upgrade(revision=start)
    look(partial(add_accounts, accounts={"ß@example.com": "ss@example.com"} | accounts))
    before = look(keys_of), look(partial(rows_of, name="alembic_version"))
    with pytest.raises(SystemExit):
        flask_migrate.upgrade() if start == "0008" else flask_migrate.downgrade(revision="0008")
    assert all(email in caplog.text for email in pair)
    assert "Nothing was changed" in caplog.text
    assert (look(keys_of), look(partial(rows_of, name="alembic_version"))) == before


def test_fingerprints_of_passwords_are_deleted(empty_app: Flask, look: Look) -> None:
    flask_migrate.upgrade(revision="0008")
    look(partial(add_row, name="users", row=USER))
    for key, location in (("a", "/api/v1/users/2"), ("b", "/example/api/v1/users/3"), ("c", "/api/v1/posts/1")):
        look(partial(add_row, name="idempotency_keys", row=ROWS["0004"][1] | {"key": key, "location": location}))
    flask_migrate.upgrade()
    assert [row["key"] for row in look(partial(rows_of, name="idempotency_keys"))] == ["c"]
