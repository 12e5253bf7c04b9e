"""Rotating the signing key in the steps of docs/operations.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient

from gatepost.testing import applications
from tests.auth.keyrings import write_key
from tests.conftest import API, PASSWORD, problem
from tests.docs.test_operations import section

KEYS = {"old": "the-old-one-of-the-tests-0123456789", "new": "and-the-one-after-it-9876543210-xyz"}
BODY = {"title": "A title", "content": "A text"}


def steps() -> list[tuple[str, tuple[str, ...]]]:
    """Return JWT_SECRET_KEY and JWT_PREVIOUS_SECRET_KEYS of each step, as the guide's table has them."""
    rows = re.findall(r"^\| \d[^|]*\| (\w+) \| (\w*) ?\|", section("The signing key"), re.MULTILINE)
    return [(KEYS[key], (KEYS[previous],) if previous else ()) for key, previous in rows]


def changes_of_kind(file: str) -> list[dict[str, Any]]:
    """Return the settings of each step from one kind of key to the other, as the guide's table has them."""
    rows = re.findall(r"^\| (\d.*)\|$", section("From one kind of key to the other"), re.MULTILINE)
    values = {"secret": KEYS["old"], "token.pem": file}
    steps = []
    for row in rows:
        secret, previous, private, verifying = [values.get(cell.strip(), "") for cell in row.split("|")[1:]]
        steps.append(
            {
                "jwt_secret_key": secret,
                "jwt_previous_secret_keys": (previous,) if previous else (),
                "jwt_private_key_file": private or None,
                "jwt_verification_key_files": (verifying,) if verifying else (),
            }
        )
    return steps


@contextmanager
def replica(url: str, key: str, previous: tuple[str, ...]) -> Iterator[FlaskClient]:
    """A replica with these keys, on the database that all share."""
    with serving(url, {"jwt_secret_key": key, "jwt_previous_secret_keys": previous}) as client:
        yield client


@contextmanager
def serving(url: str, keys: dict[str, Any]) -> Iterator[FlaskClient]:
    """A replica with these settings, on the database that all share."""
    with applications.replica(url, **keys) as app:
        yield app.test_client()


@pytest.fixture
def replicas(database_url: str) -> Iterator[list[FlaskClient]]:
    """One replica before the rotation, and one for each of its steps."""
    with ExitStack() as stack:
        yield [stack.enter_context(replica(database_url, *keys)) for keys in [(KEYS["old"], ()), *steps()]]


def log_in(client: FlaskClient, email: str) -> Any:
    answer = client.post(f"{API}/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200
    return answer.get_json()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def me(client: FlaskClient, token: str) -> int:
    return client.get(f"{API}/auth/me", headers=bearer(token)).status_code


def register(client: FlaskClient, email: str) -> Any:
    account = {"email": email, "name": "Dora", "password": PASSWORD}
    answer = client.post(f"{API}/auth/register", json=account)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def test_the_guide_has_three_steps() -> None:
    assert steps() == [
        (KEYS["old"], (KEYS["new"],)),
        (KEYS["new"], (KEYS["old"],)),
        (KEYS["new"], ()),
    ]


def test_no_step_refuses_a_token_of_the_step_before_or_after(replicas: list[FlaskClient]) -> None:
    register(replicas[0], "steps@example.com")
    # While replicas are replaced, two steps are in service at once, and a client meets either.
    for before, after in [(0, 1), (1, 2)]:
        for signs, reads in [(before, after), (after, before)]:
            token = log_in(replicas[signs], "steps@example.com")["access_token"]
            assert me(replicas[reads], token) == 200, (signs, reads)
    token = log_in(replicas[3], "steps@example.com")["access_token"]
    assert me(replicas[2], token) == 200
    # Those who leave the first step out refuse tokens of the new key.
    assert me(replicas[0], token) == 401


def test_old_tokens_stay_valid_new_ones_have_the_new_key_and_then_old_ones_are_refused(
    replicas: list[FlaskClient],
) -> None:
    _, _, overlap, end = replicas
    old = register(replicas[0], "overlap@example.com")
    assert me(overlap, old["access_token"]) == 200
    new = overlap.post(f"{API}/auth/refresh", headers=bearer(old["refresh_token"])).get_json()
    for name in ("access_token", "refresh_token"):
        jwt.decode(old[name], KEYS["old"], algorithms=["HS256"], audience="gatepost")
        jwt.decode(new[name], KEYS["new"], algorithms=["HS256"], audience="gatepost")
    assert me(end, new["access_token"]) == 200
    refused = end.get(f"{API}/auth/me", headers=bearer(old["access_token"]))
    assert problem(refused) == (401, "token_invalid")
    assert end.post(f"{API}/auth/refresh", headers=bearer(new["refresh_token"])).status_code == 200


def test_cursors_and_kept_answers_hang_on_the_key_as_the_guide_says(replicas: list[FlaskClient]) -> None:
    start, _, overlap, end = replicas
    register(start, "keys@example.com")
    headers = bearer(log_in(overlap, "keys@example.com")["access_token"])
    made = [start, start]
    first = start.post(
        f"{API}/posts",
        json=BODY,
        headers={"Idempotency-Key": "one", **bearer(log_in(start, "keys@example.com")["access_token"])},
    )
    assert first.status_code == 201
    for client in made:
        token = log_in(client, "keys@example.com")["access_token"]
        assert client.post(f"{API}/posts", json=BODY, headers=bearer(token)).status_code == 201
    cursor = start.get(f"{API}/posts?limit=1").get_json()["pagination"]["next_cursor"]

    assert overlap.get(f"{API}/posts?limit=1&cursor={cursor}").status_code == 200
    assert problem(end.get(f"{API}/posts?limit=1&cursor={cursor}")) == (422, "validation_error")

    again = {"Idempotency-Key": "one", **headers}
    repeated = overlap.post(f"{API}/posts", json=BODY, headers=again)
    assert (repeated.status_code, repeated.headers["Idempotency-Replayed"]) == (201, "true")
    assert problem(end.post(f"{API}/posts", json=BODY, headers=again)) == (422, "idempotency_key_reused")


def test_changing_the_kind_of_key_and_back_signs_nobody_out(database_url: str, tmp_path: Path) -> None:
    start: dict[str, Any] = {"jwt_secret_key": KEYS["old"]}
    steps = [start, *changes_of_kind(write_key(tmp_path / "token.pem").path)]
    assert len(steps) == 7
    assert steps[-1] == start | {
        "jwt_previous_secret_keys": (),
        "jwt_private_key_file": None,
        "jwt_verification_key_files": (),
    }
    with ExitStack() as stack:
        replicas = [stack.enter_context(serving(database_url, keys)) for keys in steps]
        register(replicas[0], "kinds@example.com")
        algorithms = {}
        for before, after in pairwise(replicas):
            for signs, reads in ((before, after), (after, before)):
                granted = log_in(signs, "kinds@example.com")
                algorithms[replicas.index(signs)] = jwt.get_unverified_header(granted["access_token"])["alg"]
                assert me(reads, granted["access_token"]) == 200
                assert reads.post(f"{API}/auth/refresh", headers=bearer(granted["refresh_token"])).status_code == 200
        assert [algorithms[step] for step in range(7)] == [*["HS256"] * 2, *["ES256"] * 3, *["HS256"] * 2]
        # At the ends of each overlap the other kind is refused.
        assert me(replicas[3], log_in(replicas[0], "kinds@example.com")["access_token"]) == 401
        assert me(replicas[6], log_in(replicas[3], "kinds@example.com")["access_token"]) == 401
