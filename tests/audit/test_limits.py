"""The cost of the audit log: one INSERT for a login, none for a refresh or for a guess that a limit refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.components import components_of
from gatepost.testing.applications import clients
from gatepost.testing.statements import counted
from tests.audit.support import events, names
from tests.auth.support import log_in, refresh
from tests.conftest import API, PASSWORD, Person, problem


def test_a_login_costs_one_insert(app: Flask, client: FlaskClient, alice: Person) -> None:
    with counted(app) as statements:
        assert log_in(client, alice.email).status_code == 200
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    assert [statement.split()[2] for statement in inserts] == ["sessions", "auth_events"]


def test_a_refresh_costs_nothing(app: Flask, client: FlaskClient, alice: Person) -> None:
    with counted(app) as statements:
        assert refresh(client, alice.refresh_token).status_code == 200
    assert not [statement for statement in statements if "auth_events" in statement]


def test_refused_logins_run_the_same_statements(app: Flask, client: FlaskClient, alice: Person, bob: Person) -> None:
    """Otherwise the response time would reveal the reason (docs/login-timing.md)."""
    disabled = app.test_cli_runner().invoke(args=["users", "disable", bob.email])
    assert disabled.exit_code == 0, disabled.output
    seen = []
    for email, password in ((alice.email, "wrong"), ("nobody@example.com", "wrong"), (bob.email, PASSWORD)):
        with counted(app) as statements:
            assert log_in(client, email, password).status_code == 401
        # On PostgreSQL a comment has the id of the request.
        seen.append([statement.partition(" /*")[0] for statement in statements])
    assert seen[0] == seen[1] == seen[2]
    assert [statement.split()[0] for statement in seen[0] if "BEGIN" not in statement] == ["SELECT", "INSERT"]


def test_many_sessions_end_with_one_insert(app: Flask, client: FlaskClient, alice: Person) -> None:
    for _ in range(5):
        log_in(client, alice.email)
    with counted(app) as statements:
        assert alice.delete("/auth/sessions").status_code == 204
    assert len([statement for statement in statements if statement.startswith("INSERT")]) == 1
    assert names(app)[5:] == ["session_revoked"] * 5


@pytest.fixture
def limited(app: Flask) -> Iterator[FlaskClient]:
    """A client of an application on the same database with low limits."""
    changes = {"ratelimit_login_account": "2 per hour", "ratelimit_login_address": "3 per hour"}
    with clients(components_of(app).settings) as make:
        yield make(ratelimit_enabled=True, **changes)


def test_a_login_that_a_limit_refuses_is_not_recorded(app: Flask, limited: FlaskClient, alice: Person) -> None:
    guess = {"email": alice.email, "password": "wrong"}
    statuses = [limited.post(f"{API}/auth/login", json=guess).status_code for _ in range(5)]
    assert statuses == [401, 401, 429, 429, 429]
    assert problem(limited.post(f"{API}/auth/login", json={**guess, "password": PASSWORD})) == (429, "rate_limited")
    others = [
        limited.post(f"{API}/auth/login", json={**guess, "email": f"{n}@example.com"}).status_code for n in range(4)
    ]
    assert others == [401, 429, 429, 429]
    assert [event["detail"] for event in events(app)] == ["wrong_password", "wrong_password", "unknown_email"]
