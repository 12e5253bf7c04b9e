"""Backing up and restoring, with the very commands of docs/operations.md."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from gatepost.testing.services.postgres import PostgresServer, find_binaries
from gatepost.testing.services.process import bare_environment
from tests.conftest import ROOT, migrate
from tests.docs.test_operations import section

COMMAND_SECONDS = 60
PRIVATE = 0o600
IN_CONTAINER = "docker compose exec -T db "
ADD_USER = """INSERT INTO users (email, email_key, name, name_key, password_hash, created_at, updated_at)
    VALUES ('{0}', '{0}', 'Somebody', 'somebody', '-', '{1}', '{1}')"""
NOW = "2026-01-01 00:00:00"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def commands(title: str) -> list[str]:
    """Return the blocks of commands below a heading."""
    found = re.findall(r"^```sh\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    assert found, title
    return found


class Operator:
    """Somebody at a shell in the project's folder, who types what the guide says."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {
            **bare_environment(),
            "FLASK_SKIP_DOTENV": "1",
            "APP_ENV": "testing",
            "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
            "RATELIMIT_ENABLED": "false",
            **environment,
        }

    def run(self, block: str, *, database: Path = ROOT / "var" / "gatepost.db") -> None:
        """Run a block, with a folder of the test for `/var/backups`, and `database` for the SQLite file it names."""
        script = block.replace("var/gatepost.db", str(database)).replace("/var/backups", str(self.folder))
        answer = subprocess.run(
            ["sh", "-euc", script],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert answer.returncode == 0, f"{script}\n{answer.stdout}{answer.stderr}"


def path_with(*folders: Path) -> str:
    return os.pathsep.join([*map(str, folders), os.environ["PATH"]])


# flask, and python3, are those of the virtual environment, which the guide puts first too.
TOOLS = Path(sys.executable).parent


class Server:
    """A PostgreSQL whose database is called gatepost, as in production."""

    def __init__(self, server: PostgresServer) -> None:
        self.admin_url = server.url
        self.url = urlunsplit(urlsplit(server.url)._replace(path="/gatepost"))

    def administer(self, statement: str) -> None:
        """Run a statement that no transaction may hold."""
        connection = psycopg2.connect(self.admin_url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def drop(self) -> None:
        self.administer("DROP DATABASE IF EXISTS gatepost WITH (FORCE)")

    def add(self, email: str) -> None:
        """Let somebody register."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(ADD_USER.format(email, NOW))
        connection.close()

    def emails(self) -> list[str]:
        """Who has an account."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT email FROM users ORDER BY id")
            found = [email for (email,) in cursor.fetchall()]
        connection.close()
        return found


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[Server]:
    """A migrated database with one account."""
    found = Server(postgres)
    found.drop()
    found.administer("CREATE DATABASE gatepost TEMPLATE template0 ENCODING 'UTF8'")
    migrate(found.url)
    found.add("before@example.com")
    yield found
    found.drop()


@pytest.fixture
def operator(server: Server, tmp_path: Path) -> Operator:
    """Somebody with PostgreSQL's own tools, and its password where libpq looks for it."""
    parts = urlsplit(server.url)
    return Operator(
        tmp_path,
        PATH=path_with(TOOLS, find_binaries()),
        DATABASE_URL=server.url,
        PGHOST=str(parts.hostname),
        PGPORT=str(parts.port),
        PGPASSWORD=str(parts.password),
    )


def test_postgresql_comes_back_as_it_was_dumped(server: Server, operator: Operator) -> None:
    backup, _, restore, _ = commands("PostgreSQL")
    operator.run(backup)
    assert mode(operator.folder / "gatepost.dump") == PRIVATE
    server.add("after@example.com")
    server.drop()
    server.administer("CREATE DATABASE gatepost TEMPLATE template0 ENCODING 'UTF8'")
    operator.run(restore)
    assert server.emails() == ["before@example.com"]
    # Sequences go on behind what is there.
    server.add("next@example.com")
    assert server.emails() == ["before@example.com", "next@example.com"]


def test_postgresql_comes_back_in_a_container(server: Server, operator: Operator) -> None:
    _, backup, _, restore = commands("PostgreSQL")
    assert IN_CONTAINER in backup
    assert restore.count(IN_CONTAINER) == 3
    # What runs in the container runs here.
    operator.run(backup.replace(IN_CONTAINER, ""))
    assert mode(operator.folder / "gatepost.dump") == PRIVATE
    server.add("after@example.com")
    operator.run(restore.replace(IN_CONTAINER, ""))
    assert server.emails() == ["before@example.com"]


def test_a_dump_that_does_not_fit_restores_nothing(server: Server, operator: Operator) -> None:
    backup, _, restore, _ = commands("PostgreSQL")
    operator.run(backup)
    server.add("after@example.com")
    with pytest.raises(AssertionError, match="already exists"):
        operator.run(restore)
    assert server.emails() == ["before@example.com", "after@example.com"]


def test_a_migration_waits_for_a_lock_as_long_as_it_is_told(server: Server, operator: Operator) -> None:
    (bounded,) = (block for block in commands("Upgrade without downtime") if "lock_timeout" in block)
    with psycopg2.connect(server.url) as other, other.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        cursor.execute("LOCK TABLE alembic_version")
        with pytest.raises(AssertionError, match="lock timeout"):
            operator.run(bounded)
    other.close()
    operator.run(bounded)


def emails_in(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = [email for (email,) in connection.execute("SELECT email FROM users ORDER BY id")]
    connection.close()
    return found


def test_sqlite_comes_back_as_it_was_copied(tmp_path: Path) -> None:
    database = tmp_path / "live" / "gatepost.db"
    database.parent.mkdir()
    (tmp_path / "backups").mkdir()
    migrate(f"sqlite:///{database}")
    operator = Operator(tmp_path / "backups", PATH=path_with(TOOLS), DATABASE_URL=f"sqlite:///{database}")
    backup, restore = commands("SQLite")
    # A service that is running: its last writes are in the log beside the file, and one is under way.
    service = sqlite3.connect(database, isolation_level=None)
    service.execute("PRAGMA journal_mode=WAL")
    service.execute(ADD_USER.format("before@example.com", NOW))
    service.execute("BEGIN IMMEDIATE")
    service.execute(ADD_USER.format("unfinished@example.com", NOW))
    assert database.with_name("gatepost.db-wal").stat().st_size > 0
    operator.run(backup, database=database)
    assert mode(tmp_path / "backups" / "gatepost.db") == PRIVATE
    service.execute("COMMIT")
    assert emails_in(tmp_path / "backups" / "gatepost.db") == ["before@example.com"]
    assert emails_in(database) == ["before@example.com", "unfinished@example.com"]

    # It was killed: its log is still there.
    left = {path.name: path.read_bytes() for path in database.parent.iterdir()}
    service.close()
    for name, content in left.items():
        database.with_name(name).write_bytes(content)
    operator.run(restore, database=database)
    assert emails_in(database) == ["before@example.com"]
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_no_copy_is_made_of_a_database_that_is_not_there(tmp_path: Path) -> None:
    operator = Operator(tmp_path, PATH=path_with(TOOLS))
    backup, _ = commands("SQLite")
    with pytest.raises(AssertionError, match="unable to open database file"):
        operator.run(backup, database=tmp_path / "nowhere.db")
    assert not (tmp_path / "nowhere.db").exists()
