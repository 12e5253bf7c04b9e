"""`users set-password`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from app.audit.models import AuthEvent
from gatepost.testing.rows import count_rows
from tests.auth.support import log_in, refresh
from tests.conftest import PASSWORD, ROOT, Person, problem

NEW = "staple of a new battery"


def set_password(app: Flask, email: str, typed: str | bytes) -> Result:
    """Run the command with `typed` on standard input, which is no terminal."""
    result = app.test_cli_runner().invoke(args=["users", "set-password", "--email", email], input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_it_replaces_the_password_and_ends_all_sessions(
    app: Flask, client: FlaskClient, alice: Person, bob: Person
) -> None:
    result = set_password(app, "ALICE@example.com", f"{NEW}\nanother line\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "alice@example.com has a new password and no sessions.\n"
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert problem(refresh(client, alice.refresh_token)) == (401, "token_revoked")
    assert bob.get("/auth/me").status_code == 200
    assert problem(log_in(client, alice.email)) == (401, "invalid_credentials")
    assert log_in(client, alice.email, NEW).status_code == 200
    by_operator: dict[str, Any] = {"user_id": alice.id, "actor": "operator", "actor_id": None}
    assert count_rows(app, AuthEvent, event="password_changed", **by_operator) == 1
    assert count_rows(app, AuthEvent, event="session_revoked", detail="password_changed", **by_operator) == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("short\n", "  password: Must have at least 8 characters."),
        ("x" * 9000, "  password: Must have at most 128 characters."),
        ("password1\n", "  password: This password is too common"),
        ("Alice--1234\n", "  password: Must not be based on"),
        ("", "Standard input is empty. Its first line must be the password."),
        (b"caf\xe9 au lait noir\n", "The password on standard input is not UTF-8."),
    ],
)
def test_the_rules_for_passwords_apply(
    app: Flask, client: FlaskClient, alice: Person, typed: str | bytes, words: str
) -> None:
    result = set_password(app, alice.email, typed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert alice.get("/auth/me").status_code == 200
    assert log_in(client, alice.email, PASSWORD).status_code == 200


@pytest.mark.parametrize("email", ["nobody@example.com", "nobody"])
def test_an_unknown_address_is_reported(app: Flask, alice: Person, email: str) -> None:
    result = set_password(app, email, f"{NEW}\n")
    assert result.exit_code == 1
    assert "No account has the address" in result.stderr or "Not a valid email address" in result.stderr


def test_a_disabled_account_stays_disabled(app: Flask, client: FlaskClient, alice: Person, carol: Person) -> None:
    carol.patch(f"/users/{alice.id}", json={"is_active": False})
    assert set_password(app, alice.email, NEW).stdout.endswith(" It is disabled.\n")
    assert problem(log_in(client, alice.email, NEW)) == (401, "invalid_credentials")


@pytest.mark.parametrize(("second", "ends"), [(NEW, True), ("something else", False)])
def test_a_terminal_is_asked_twice(
    client: FlaskClient, database_url: str, alice: Person, second: str, ends: bool
) -> None:
    variables = {"APP_ENV": "testing", "DATABASE_URL": database_url, "JWT_SECRET_KEY": "k" * 40, "PATH": "/usr/bin"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flask", "--app", "run", "users", "set-password", "--email", alice.email]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        for question, answer in ((b"Password: ", NEW), (b"Password again: ", second)):
            while question not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, f"{answer}\n".encode())
        if ends:
            assert process.wait(60) == 0
        else:
            while b"do not match" not in shown:
                shown += os.read(ours, 1024)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert NEW.encode() not in shown
    assert log_in(client, alice.email, NEW if ends else PASSWORD).status_code == 200
