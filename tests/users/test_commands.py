"""The `users` commands."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select

from app.database import db, fetch_one, transaction
from app.users.models import User
from app.users.service import create_user, find_by_email, update_user
from tests.conftest import API, PASSWORD, Cast, Person, problem

NEW = ["users", "create-admin", "--email", "dora@example.com", "--name", "Dora"]
LAST_ADMIN = "Error: The last active administrator cannot be removed: make another user an administrator first.\n"


def run(app: Flask, *arguments: str, typed: str | bytes = "") -> Result:
    """Run a command like `flask --app run`, with `typed` on its standard input."""
    result = app.test_cli_runner().invoke(args=list(arguments), input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "argon2" not in result.output
    return result


def account(app: Flask, email: str) -> Any:
    """Return the row of an account, or None."""
    with app.app_context():
        return fetch_one(select(User.role, User.is_active, User.name).where(User.email == email))


def log_in(app: Flask, email: str, password: str) -> int:
    """Log in and return the status."""
    body = {"email": email, "password": password}
    return app.test_client().post(f"{API}/auth/login", json=body).status_code


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "", "\nanother line\n"])
def test_create_admin_reads_one_line(app: Flask, line_end: str) -> None:
    result = run(app, *NEW, typed="  kéys to the town " + line_end)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Created administrator dora@example.com with id 1.\n"
    assert account(app, "dora@example.com") == ("admin", True, "Dora")
    assert log_in(app, "dora@example.com", "  kéys to the town ") == 200


def test_create_admin_refuses_a_taken_address_however_it_is_spelt(app: Flask, alice: Person) -> None:
    result = run(app, "users", "create-admin", "--email", "ALICE@example.com", "--name", "Eve", typed="keys to it\n")
    assert result.exit_code == 1
    assert "already exists. Nothing was changed." in result.stderr
    assert account(app, alice.email) == ("user", True, "Alice")
    assert log_in(app, alice.email, PASSWORD) == 200


def test_an_address_on_the_command_line_is_trimmed(app: Flask, alice: Person) -> None:
    result = run(app, "users", "create-admin", "--email", " dora@example.com ", "--name", "Dora", typed="keys to it\n")
    assert result.stdout == "Created administrator dora@example.com with id 2.\n"
    assert run(app, "users", "promote", f"\u00a0{alice.email} ").exit_code == 0


def test_create_admin_explains_why_a_special_domain_is_refused(app: Flask) -> None:
    result = run(app, "users", "create-admin", "--email", "dora@mail.local", "--name", "Dora", typed="keys to it\n")
    assert result.exit_code == 1
    assert "email: No mail is delivered to this domain" in result.stderr
    assert "No account has the address" in run(app, "users", "promote", "dora@mail.local").stderr


def test_a_password_on_standard_input_is_normalized(app: Flask) -> None:
    run(app, *NEW, typed="kéys\u00a0to the town\n".replace("é", "e\u0301"))
    assert log_in(app, "dora@example.com", "kéys to the town") == 200
    assert "password: Must have at least 8 characters." in run(app, *NEW, typed="e\u0301" * 7 + "\n").stderr


def test_create_admin_reports_all_errors_at_once(app: Flask) -> None:
    result = run(app, "users", "create-admin", "--email", "nobody", "--name", "E", typed="short\n")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: Invalid input, nothing was changed:",
        "  email: Not a valid email address.",
        "  name: Must have at least 2 characters.",
        "  password: Must have at least 8 characters.",
    ]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("password1\n", "password: This password is too common"),
        ("dora@example.com\n", "password: Must not be based on"),
        ("x" * 9000, "password: Must have at most 128 characters."),
        ("", "Standard input is empty. Its first line must be the password."),
        (b"caf\xe9 au lait noir\n", "The password on standard input is not UTF-8."),
    ],
)
def test_create_admin_validates_passwords_like_registration(app: Flask, typed: str | bytes, words: str) -> None:
    result = run(app, *NEW, typed=typed)
    assert result.exit_code == 1
    assert words in result.stderr
    assert account(app, "dora@example.com") is None


def test_a_password_is_no_option(app: Flask) -> None:
    assert run(app, *NEW, "--password", PASSWORD).exit_code == 2


def test_disable_ends_sessions_and_enable_permits_new_logins(app: Flask, alice: Person, bob: Person) -> None:
    result = run(app, "users", "disable", "Alice@EXAMPLE.com")
    assert (result.exit_code, result.stdout) == (0, "alice@example.com is now disabled and has no sessions.\n")
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert log_in(app, alice.email, PASSWORD) == 401
    assert bob.get("/auth/me").status_code == 200
    assert "was already disabled and has no sessions" in run(app, "users", "disable", alice.email).stdout

    assert run(app, "users", "enable", alice.email).stdout == "alice@example.com is now enabled.\n"
    assert run(app, "users", "enable", alice.email).stdout == "alice@example.com was already enabled.\n"
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert log_in(app, alice.email, PASSWORD) == 200


def test_promote_and_demote_act_on_the_next_request(app: Flask, alice: Person, carol: Person) -> None:
    assert run(app, "users", "promote", alice.email).stdout == "alice@example.com is now an administrator.\n"
    assert alice.get(f"/users/{carol.id}").get_json()["email"] == carol.email
    assert run(app, "users", "demote", alice.email).stdout == "alice@example.com is now an ordinary user.\n"
    assert "email" not in alice.get(f"/users/{carol.id}").get_json()


@pytest.mark.parametrize("command", ["disable", "demote"])
def test_the_last_administrator_stays(app: Flask, carol: Person, alice: Person, command: str) -> None:
    result = run(app, "users", command, carol.email)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", LAST_ADMIN)
    assert account(app, carol.email) == ("admin", True, "Carol")
    assert carol.get("/auth/me").status_code == 200


def test_of_two_administrators_demoted_at_once_one_stays(app: Flask, carol: Person, join: Cast) -> None:
    dave, results = join("Dave", role="admin"), []
    other = threading.Thread(target=lambda: results.append(run(app, "users", "demote", dave.email)))
    with app.app_context(), transaction():
        user = find_by_email(carol.email)
        assert user is not None
        update_user(user, {"role": "user"})
        other.start()
        time.sleep(0.3)
    other.join()
    assert [(result.exit_code, result.stderr) for result in results] == [(1, LAST_ADMIN)]
    assert account(app, dave.email) == ("admin", True, "Dave")


@pytest.mark.parametrize("command", ["disable", "enable", "promote", "demote"])
@pytest.mark.parametrize(
    ("email", "words"),
    [
        ("nobody@example.com", "Error: No account has the address nobody@example.com.\n"),
        ("nobody", "  email: Not a valid email address.\n"),
        ("a\udcff@example.com", "  email: Must not have control characters.\n"),
    ],
)
def test_an_unknown_address_is_reported(app: Flask, command: str, email: str, words: str) -> None:
    result = run(app, "users", command, email)
    assert result.exit_code == 1
    assert result.stderr.endswith(words)


def test_list_is_an_aligned_table(app: Flask, alice: Person, carol: Person) -> None:
    with app.app_context(), transaction():
        create_user("long.address@example.com", "李小龍", "x")
        create_user("z@example.com", "Re\u202everse", "x")
    run(app, "users", "disable", alice.email)
    lines = run(app, "users", "list").stdout.splitlines()
    assert [line.rpartition("  ")[0] for line in lines] == [
        "ID  EMAIL                     NAME      ROLE   ACTIVE",
        "1   alice@example.com         Alice     user   no    ",
        "2   carol@example.com         Carol     admin  yes   ",
        "3   long.address@example.com  李小龍    user   yes   ",
        "4   z@example.com             Re\ufffdverse  user   yes   ",
    ]


def test_list_continues_after_an_id(app: Flask, join: Cast) -> None:
    for name in ("Ada", "Ben", "Cem"):
        join(name)
    first = run(app, "users", "list", "--limit", "2")
    assert [line.split()[2] for line in first.stdout.splitlines()[1:]] == ["Ada", "Ben"]
    assert first.stderr == "There are more accounts. Continue with --after 2.\n"
    rest = run(app, "users", "list", "--limit", "2", "--after", "2")
    assert [line.split()[2] for line in rest.stdout.splitlines()[1:]] == ["Cem"]
    assert rest.stderr == ""
    assert run(app, "users", "list", "--limit", "0").exit_code == 2
    assert run(app, "users", "list", "--after", str(2**63)).exit_code == 2


def test_list_as_json_shows_what_administrators_see(app: Flask, alice: Person, carol: Person) -> None:
    document = json.loads(run(app, "users", "list", "--json", "--limit", "1").stdout)
    assert document == {"items": [carol.get(f"/users/{alice.id}").get_json()], "next_after": alice.id}
    document = json.loads(run(app, "users", "list", "--json", "--after", str(alice.id)).stdout)
    assert (len(document["items"]), document["next_after"]) == (1, None)


def test_a_failing_command_changes_nothing(app: Flask, alice: Person, carol: Person) -> None:
    run(app, "users", "demote", carol.email)
    with app.app_context():
        assert db.session.scalar(select(User.updated_at).where(User.id == carol.id)) == db.session.scalar(
            select(User.created_at).where(User.id == carol.id)
        )
