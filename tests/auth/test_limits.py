"""The limits of the auth routes: failed logins, registrations and requests, and the responses beyond a limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.database import db
from gatepost.testing.applications import replica
from gatepost.testing.statements import counted
from tests.auth.support import bearer, log_in
from tests.conftest import API, PASSWORD, Person, problem

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
# More threads than the pools have connections, which wait for one on a busy machine as long as it takes.
THREADS = 25
LONG_WAITS = {"db_lock_timeout_ms": 60_000, "db_statement_timeout_ms": 60_000, "db_pool_timeout_seconds": 60}
LIMITED, WRONG = (429, "rate_limited"), (401, "invalid_credentials")


def instance(database_url: str) -> AbstractContextManager[Flask]:
    """An application instance with its limits enabled, as another worker or replica has it."""
    return replica(database_url, ratelimit_enabled=True, **LONG_WAITS)


@pytest.fixture
def limited(app: Flask, database_url: str) -> Iterator[Flask]:
    """The application with its limits enabled, and none used up."""
    with instance(database_url) as made:
        yield made


@pytest.fixture
def client(limited: Flask) -> FlaskClient:
    """A client of the application with limits."""
    return limited.test_client()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify passwords without Argon2, for tests of many guesses."""
    monkeypatch.setattr(
        "app.auth.service.verify_password", lambda password, encoded: bool(encoded) and password == PASSWORD
    )


def guess(client: FlaskClient, email: str, password: str = "a wrong one", address: str = HERE) -> TestResponse:
    return log_in(client, email, password, environ_overrides={"REMOTE_ADDR": address})


def fail(client: FlaskClient, email: str, times: int, address: str = HERE) -> None:
    for _ in range(times):
        assert problem(guess(client, email, address=address)) == WRONG


def register(client: FlaskClient, name: str, address: str = HERE, **changes: Any) -> TestResponse:
    body = {"email": f"{name}@example.com", "name": "Somebody", "password": PASSWORD} | changes
    return client.post(f"{API}/auth/register", json=body, environ_overrides={"REMOTE_ADDR": address})


def change_password(client: FlaskClient, person: Person, current: str, address: str = HERE) -> TestResponse:
    body = {"current_password": current, "new_password": "a new and longer one"}
    environ = {"REMOTE_ADDR": address}
    return client.post(
        f"{API}/auth/password", json=body, headers=bearer(person.access_token), environ_overrides=environ
    )


# Failed logins to one account from one address


def test_after_ten_failed_logins_even_the_right_password_is_refused(client: FlaskClient, alice: Person) -> None:
    """The refusal has the limit and the seconds to wait."""
    fail(client, alice.email, 10)
    for password in ("a wrong one", PASSWORD):
        refused = guess(client, alice.email, password)
        assert problem(refused) == LIMITED
        assert 290 <= int(refused.headers["Retry-After"]) <= 300
        assert refused.headers["X-RateLimit-Limit"] == "10"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert refused.headers["X-RateLimit-Reset"] == refused.headers["Retry-After"]
        assert refused.headers["Cache-Control"] == "no-store"


def test_every_other_response_has_the_headers_of_the_general_limit(client: FlaskClient, alice: Person) -> None:
    for used, response in enumerate([guess(client, alice.email), guess(client, alice.email, PASSWORD)], start=1):
        assert response.headers["X-RateLimit-Limit"] == "600"
        assert response.headers["X-RateLimit-Remaining"] == str(600 - used)
        assert 0 < int(response.headers["X-RateLimit-Reset"]) <= 60
        assert "Retry-After" not in response.headers


def test_the_owner_is_not_locked_out_from_elsewhere(client: FlaskClient, alice: Person, bob: Person) -> None:
    fail(client, alice.email, 10)
    assert guess(client, alice.email, PASSWORD, ELSEWHERE).status_code == 200
    # Nor are others at the same address.
    assert guess(client, bob.email, PASSWORD).status_code == 200


def test_an_unknown_account_is_limited_as_a_known_one(client: FlaskClient) -> None:
    fail(client, "nobody@example.com", 10)
    assert problem(guess(client, "nobody@example.com")) == LIMITED


def test_another_spelling_of_the_address_gives_no_more_guesses(client: FlaskClient, alice: Person) -> None:
    for spelling in (
        alice.email,
        alice.email.upper(),
        "Alice@ｅｘａｍｐｌｅ.com",
        "aLICE@EXAMPLE.com",
        "alicE@example.COM",
    ):
        fail(client, spelling, 2)
    assert problem(guess(client, alice.email)) == LIMITED


def test_the_ipv6_addresses_of_one_network_are_counted_as_one(client: FlaskClient, alice: Person) -> None:
    for n in range(10):
        fail(client, alice.email, 1, f"2001:db8:0:1::{n:x}")
    assert problem(guess(client, alice.email, address="2001:db8:0:1:ffff::1")) == LIMITED
    assert problem(guess(client, alice.email, address="2001:db8:0:2::1")) == WRONG


def test_a_success_clears_the_accounts_count(client: FlaskClient, alice: Person) -> None:
    for _ in range(3):
        fail(client, alice.email, 9)
        assert guess(client, alice.email, PASSWORD).status_code == 200


def test_successes_are_not_counted(client: FlaskClient, alice: Person, quick: None) -> None:
    for _ in range(30):
        assert guess(client, alice.email, PASSWORD).status_code == 200


def test_an_invalid_request_is_not_counted(client: FlaskClient, alice: Person) -> None:
    for _ in range(11):
        assert problem(log_in(client, alice.email, "")) == (422, "validation_error")
    assert guess(client, alice.email, PASSWORD).status_code == 200


# All failures from one address


def test_an_address_has_a_hundred_failures_whatever_the_accounts(
    client: FlaskClient, alice: Person, quick: None
) -> None:
    for n in range(20):
        fail(client, f"nobody{n}@example.com", 5)
    refused = guess(client, alice.email, PASSWORD)
    assert problem(refused) == LIMITED
    assert refused.headers["X-RateLimit-Limit"] == "100"
    assert guess(client, alice.email, PASSWORD, ELSEWHERE).status_code == 200


def test_a_success_does_not_clear_the_addresss_count(client: FlaskClient, alice: Person, quick: None) -> None:
    for n in range(20):
        fail(client, f"nobody{n}@example.com", 5)
        assert guess(client, alice.email, PASSWORD).status_code == (200 if n < 19 else 429)


def test_taken_addresses_count_as_failures(client: FlaskClient, alice: Person, bob: Person) -> None:
    for _ in range(100):
        assert problem(register(client, "alice")) == (409, "email_taken")
    assert problem(register(client, "alice")) == LIMITED
    assert problem(register(client, "free")) == LIMITED
    assert problem(guess(client, bob.email, PASSWORD)) == LIMITED
    assert register(client, "free", ELSEWHERE).status_code == 201


# Registrations


def test_an_address_has_twenty_registrations_an_hour(
    client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.service.hash_password", lambda password: "!")
    for n in range(20):
        assert register(client, f"new{n}").status_code == 201
    refused = register(client, "new20")
    assert problem(refused) == LIMITED
    assert refused.headers["X-RateLimit-Limit"] == "20"
    assert 3590 <= int(refused.headers["Retry-After"]) <= 3600
    # The response does not reveal that the email is taken.
    assert problem(register(client, "alice")) == LIMITED
    assert register(client, "new20", ELSEWHERE).status_code == 201
    assert guess(client, alice.email, PASSWORD).status_code == 200


def test_refused_registrations_are_not_counted(client: FlaskClient, alice: Person) -> None:
    for _ in range(25):
        assert problem(register(client, "new", password="short")) == (422, "validation_error")
    assert register(client, "new").status_code == 201


# The current password


def test_guesses_at_the_current_password_are_guesses(client: FlaskClient, alice: Person) -> None:
    for _ in range(5):
        assert problem(change_password(client, alice, "a wrong one")) == (422, "validation_error")
    fail(client, alice.email, 5)
    assert problem(change_password(client, alice, PASSWORD)) == LIMITED
    assert problem(guess(client, alice.email, PASSWORD)) == LIMITED
    assert change_password(client, alice, PASSWORD, ELSEWHERE).status_code == 204


def test_a_reauthentication_counts_as_a_login(client: FlaskClient, alice: Person) -> None:
    def reauthenticate(password: str, address: str = HERE) -> TestResponse:
        environ = {"REMOTE_ADDR": address}
        body, headers = {"password": password}, bearer(alice.access_token)
        return client.post(f"{API}/auth/reauthenticate", json=body, headers=headers, environ_overrides=environ)

    for _ in range(5):
        assert problem(reauthenticate("a wrong one")) == (422, "validation_error")
    fail(client, alice.email, 4)
    assert reauthenticate(PASSWORD).status_code == 200
    fail(client, alice.email, 9)
    assert problem(reauthenticate("a wrong one")) == (422, "validation_error")
    assert problem(reauthenticate(PASSWORD)) == LIMITED
    assert problem(guess(client, alice.email, PASSWORD)) == LIMITED
    assert reauthenticate(PASSWORD, ELSEWHERE).status_code == 200


def test_a_right_current_password_clears_the_count(client: FlaskClient, alice: Person) -> None:
    fail(client, alice.email, 9)
    assert change_password(client, alice, PASSWORD).status_code == 204
    fail(client, alice.email, 9)


# Concurrent requests


def test_a_right_guess_is_refused_if_the_window_fills_during_its_verification(
    client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_and_verify(password: str, encoded: str | None) -> bool:
        monkeypatch.undo()
        # Would wait for a lock, if the request held one while a password is verified.
        fail(client, alice.email, 10)
        return True

    monkeypatch.setattr("app.auth.service.verify_password", fill_and_verify)
    assert problem(guess(client, alice.email, PASSWORD)) == LIMITED
    assert len(alice.get("/auth/sessions").get_json()["items"]) == 1


def test_of_50_concurrent_guesses_only_the_limit_learn_that_they_are_wrong(
    limited: Flask, alice: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All guesses pass the first check and are verified before any is counted, half of them in another instance."""
    barrier = threading.Barrier(2 * THREADS)

    def verify(password: str, encoded: str | None) -> bool:
        barrier.wait(60)
        return False

    monkeypatch.setattr("app.auth.service.verify_password", verify)
    with instance(database_url) as other, ThreadPoolExecutor(2 * THREADS) as pool:
        clients = [app.test_client() for app in (limited, other) for _ in range(THREADS)]
        statuses = list(pool.map(lambda client: guess(client, alice.email).status_code, clients))
    assert sorted(statuses) == [401] * 10 + [429] * 40


@pytest.mark.usefixtures("full_hashes")
def test_of_concurrent_guesses_with_argon2_only_the_limit_learn_that_they_are_wrong(
    limited: Flask, alice: Person
) -> None:
    def try_one(number: int) -> int:
        return guess(limited.test_client(), alice.email, f"guess {number}").status_code

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(try_one, range(40)))
    assert sorted(answers) == [401] * 10 + [429] * 30


def test_of_many_concurrent_registrations_no_more_than_the_limit_create_a_user(
    limited: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.service.hash_password", lambda password: "!")

    def try_one(number: int) -> int:
        return register(limited.test_client(), f"new{number}").status_code

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(try_one, range(40)))
    assert sorted(answers) == [201] * 20 + [429] * 20
    total = alice.get("/users?page=1").get_json()["pagination"]["total"]
    assert total == 21  # Alice, and none whose registration was refused.


# Instances and the database


def test_instances_share_their_counters_and_a_restart_keeps_them(
    client: FlaskClient, alice: Person, database_url: str
) -> None:
    fail(client, alice.email, 5)
    with instance(database_url) as other:
        fail(other.test_client(), alice.email, 5)
        assert problem(guess(client, alice.email)) == LIMITED
    with instance(database_url) as restarted:
        assert problem(guess(restarted.test_client(), alice.email, PASSWORD)) == LIMITED


def test_a_login_is_503_if_its_counter_cannot_be_read_or_written(
    limited: Flask, client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(old: str, new: str) -> None:
        with limited.app_context(), db.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    def rename_and_verify(password: str, encoded: str | None) -> bool:
        rename("rate_limits", "renamed")
        return False

    monkeypatch.setattr("app.auth.service.verify_password", rename_and_verify)
    try:
        # The hit fails, then the check does.
        assert problem(guess(client, alice.email)) == (503, "database_unavailable")
        assert problem(guess(client, alice.email, PASSWORD)) == (503, "database_unavailable")
    finally:
        rename("renamed", "rate_limits")
    monkeypatch.undo()
    assert guess(client, alice.email, PASSWORD).status_code == 200


def statements_of(app: Flask, client: FlaskClient, *guesses: tuple[str, str]) -> list[list[str]]:
    """Return the first words of the statements on counters that each guess runs."""
    found = []
    for email, password in guesses:
        with counted(app) as statements:
            guess(client, email, password)
        found.append([sql.split()[0] for sql in statements if "rate_limits" in sql])
    return found


def test_the_statements_that_the_limits_add_to_a_login(limited: Flask, client: FlaskClient, alice: Person) -> None:
    """Both limits are in each statement. A refused login reads once; a success deletes earlier failures."""
    wrong, right = (alice.email, "a wrong one"), (alice.email, PASSWORD)
    assert statements_of(limited, client, right) == [["SELECT", "SELECT"]]
    assert statements_of(limited, client, wrong, ("nobody@example.com", "any")) == [["SELECT", "INSERT"]] * 2
    assert statements_of(limited, client, right) == [["SELECT", "SELECT", "DELETE"]]
    fail(client, alice.email, 10)
    assert statements_of(limited, client, wrong, right) == [["SELECT"]] * 2


def test_the_statements_that_the_limits_add_to_a_registration(limited: Flask, client: FlaskClient) -> None:
    for expected in (["SELECT", "INSERT"], ["SELECT", "INSERT"]):
        with counted(limited) as statements:
            register(client, "new")
        assert [sql.split()[0] for sql in statements if "rate_limits" in sql] == expected


# The general limit


def test_600_requests_a_minute_and_no_more(client: FlaskClient, alice: Person) -> None:
    headers, environ = bearer(alice.access_token), {"REMOTE_ADDR": HERE}
    path = f"{API}/nothing"
    answers = [client.get(path, headers=headers, environ_overrides=environ) for _ in range(601)]
    assert {response.status_code for response in answers[:600]} == {404}
    assert answers[599].headers["X-RateLimit-Remaining"] == "0"
    assert problem(answers[600]) == LIMITED
    assert answers[600].headers["X-RateLimit-Limit"] == "600"
    assert client.get("/health", environ_overrides=environ).status_code == 200
