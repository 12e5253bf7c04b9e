"""tools/seed.py: the rows that it adds, and when it refuses to."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from sqlalchemy import func, select

from app.components import components_of
from app.database import Base, db, fetch_all
from app.security.passwords import find_weakness
from app.settings import ROOT
from app.users.schemas import email_key, fold
from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.process import bare_environment
from tests.conftest import API, Person, empty
from tools import seed as module
from tools.seed import FIRST_MOMENT, PASSWORD, SPAN

SMALL = ("--users", "40", "--posts", "300")


def seed(app: Flask, *arguments: str) -> Result:
    """Run the command in the context of an application."""
    with app.app_context():
        return CliRunner().invoke(module.seed, arguments)


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tools.seed` with these settings."""
    return subprocess.run(
        [sys.executable, "-m", "tools.seed", "--users", "2", "--posts", "3"],
        cwd=ROOT,
        env={
            **bare_environment(),
            "APP_ENV": "testing",
            "JWT_SECRET_KEY": "k" * 20 + "0123456789abcdef",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def rows(app: Flask, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table in the order of their ids, without the password hashes, whose salt is random."""
    columns = [column for column in Base.metadata.tables[table].columns if column.name != "password_hash"]
    with app.app_context():
        return [dict(row._mapping) for row in fetch_all(select(*columns).order_by(columns[0]))]


def test_the_same_number_gives_the_same_rows(app: Flask) -> None:
    def rows_of(number: str) -> list[list[dict[str, Any]]]:
        assert seed(app, *SMALL, "--seed", number).exit_code == 0
        found = [rows(app, "users"), rows(app, "posts")]
        with app.app_context():
            empty(db.engine)
        return found

    first = rows_of("7")
    assert [len(table) for table in first] == [40, 300]
    assert rows_of("7") == first
    assert rows_of("8") != first


def test_rows_are_plausible(app: Flask) -> None:
    seed(app, *SMALL)
    users, posts = rows(app, "users"), rows(app, "posts")
    joined = {user["id"]: user["created_at"] for user in users}
    assert list(joined.values()) == sorted(joined.values())
    assert all(user["email_key"] == email_key(user["email"]) for user in users)
    assert all(user["name_key"] == fold(user["name"]) for user in users)
    assert {user["role"] for user in users} == {"user"}
    assert all(older["created_at"] <= newer["created_at"] for older, newer in pairwise(posts))
    assert posts[-1]["created_at"] - posts[0]["created_at"] > timedelta(days=650)
    assert {post["status"] for post in posts} == {"draft", "published"}
    for post in posts:
        assert joined[post["author_id"]] <= post["created_at"] <= post["updated_at"] <= FIRST_MOMENT + SPAN
        assert post["published_at"] == (post["created_at"] if post["status"] == "published" else None)
        assert 1 <= len(post["title"]) <= 200
        assert 1 <= len(post["content"]) <= 50_000


def test_seeded_users_sign_in_with_the_password_that_is_printed(app: Flask) -> None:
    output = seed(app, *SMALL).stdout
    shown = re.search(r"^Sign in as (\S+) .* the password of all is: (.+)$", output, re.MULTILINE)
    assert shown is not None, output
    assert "Added 40 users and 300 posts." in output
    for email in (shown[1], rows(app, "users")[-1]["email"]):
        answer = app.test_client().post(f"{API}/auth/login", json={"email": email, "password": shown[2]})
        assert answer.status_code == 200


def test_the_password_is_hashed_once_and_strong_enough(app: Flask) -> None:
    seed(app, *SMALL)
    with app.app_context():
        assert db.session.scalar(select(func.count(Base.metadata.tables["users"].c.password_hash.distinct()))) == 1
    for user in rows(app, "users"):
        assert find_weakness(PASSWORD, name=user["name"], email=user["email"]) is None


def test_a_database_with_rows_gets_more_rows(app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 16)
    for _ in range(3):
        assert seed(app, *SMALL).exit_code == 0
    users = rows(app, "users")
    assert len(users) == 121
    assert len({user["email_key"] for user in users}) == 121
    assert [user["name"] for user in users[1:41]] == [user["name"] for user in users[81:]]
    assert len(rows(app, "posts")) == 900
    assert alice.get("/posts?limit=1").status_code == 200


def test_posts_are_optional_and_users_are_not(app: Flask) -> None:
    assert seed(app, "--users", "1", "--posts", "0").exit_code == 0
    assert (len(rows(app, "users")), rows(app, "posts")) == (1, [])
    assert seed(app, "--users", "0").exit_code == 2


def test_users_with_the_same_name_get_different_addresses(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ascii", lambda name: "kim")
    seed(app, "--users", "3", "--posts", "0")
    seed(app, "--users", "2", "--posts", "0")
    assert [user["email"] for user in rows(app, "users")] == [
        f"kim.kim{number}@example.com" for number in ("", 2, 3, 4, 5)
    ]


def test_production_requires_an_option(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(components_of(app).settings, app_env="production")
    monkeypatch.setattr(components_of(app), "settings", settings)
    result = seed(app, *SMALL)
    assert result.exit_code == 1
    assert "add --yes-in-production" in result.stderr
    assert rows(app, "users") == []
    assert seed(app, *SMALL, "--yes-in-production").exit_code == 0
    assert len(rows(app, "users")) == 40


def test_the_module_runs_as_a_program(app: Flask, database_url: str) -> None:
    done = run(DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert "Added 2 users and 3 posts." in done.stdout
    assert [len(rows(app, table)) for table in ("users", "posts")] == [2, 3]


def test_failures_are_reported_without_a_traceback(tmp_path: Path) -> None:
    fresh = run(DATABASE_URL=f"sqlite:///{tmp_path / 'fresh.db'}")
    missing = run(DATABASE_URL=f"postgresql://gatepost:hidden-words@{LOOPBACK}:{free_port()}/gatepost")
    invalid = run(DATABASE_URL="x")
    assert [done.returncode for done in (fresh, missing, invalid)] == [1, 1, 1]
    assert fresh.stderr == (
        "Error: The database does not have the tables of this version: run flask --app run db upgrade.\n"
    )
    assert missing.stderr.startswith("Error: The database can't be reached: ")
    assert "hidden-words" not in missing.stderr
    assert invalid.stderr.startswith("Invalid configuration: 1 setting needs to be fixed.\n  DATABASE_URL: ")
    assert "Traceback" not in fresh.stderr + missing.stderr + invalid.stderr
