"""Idempotency-Key on POST /posts and POST /users. tests/concurrency has the tests with concurrent requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from marshmallow import Schema, fields
from sqlalchemy import select, text
from werkzeug.test import TestResponse

from app import create_app
from app.api.errors import IdempotencyInProgress, TokenRevoked
from app.api.fields import InputSchema, Text
from app.api.idempotency import service as idempotency
from app.api.idempotency.models import KeptAnswer
from app.api.idempotency.service import Reservation
from app.components import components_of
from app.database import db, transaction
from app.posts import service as posts
from app.posts.models import Post
from app.security.keyed_hashes import KeyedHasher
from app.users.models import User
from gatepost.testing.rows import count_rows, delete_user_row
from tests.conftest import API, PASSWORD, Clock, Person, problem, settings_for

POST = {"title": "Hello", "content": "World"}
USER = {"email": "dave@example.com", "name": "Dave", "password": PASSWORD}


def write(person: Person, key: str = "key", body: dict[str, Any] | None = None, path: str = "/posts") -> TestResponse:
    """Send a POST with a key."""
    return person.post(path, json=POST if body is None else body, headers={"Idempotency-Key": key})


def check_replay(first: TestResponse, again: TestResponse) -> None:
    """Check that `again` is the response `first`, marked as replayed."""
    assert first.status_code == again.status_code == 201
    assert first.data == again.data
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    for name in ("Location", "ETag", "Cache-Control", "Content-Type"):
        assert again.headers[name] == first.headers[name]


def test_a_repeated_request_gets_the_first_response_and_creates_no_second_row(alice: Person, app: Flask) -> None:
    first = write(alice)
    for _ in range(3):
        check_replay(first, write(alice))
    assert count_rows(app, Post) == 1


def test_accounts_too(carol: Person, app: Flask) -> None:
    first = write(carol, body=USER, path="/users")
    check_replay(first, write(carol, body=USER, path="/users"))
    assert count_rows(app, User) == 2


def test_the_first_response_is_returned_after_a_change_of_the_resource(alice: Person) -> None:
    first = write(alice)
    path = first.headers["Location"].removeprefix(API)
    alice.patch(path, json={"title": "Changed"})
    check_replay(first, write(alice))
    alice.delete(path)
    check_replay(first, write(alice))


@pytest.mark.parametrize(
    "body",
    [{"content": "World", "title": "Hello"}, POST | {"status": "published"}],
    ids=["members in another order", "a default spelt out"],
)
def test_the_same_body_may_have_another_spelling(alice: Person, body: dict[str, str]) -> None:
    check_replay(write(alice), write(alice, body=body))


@pytest.mark.parametrize(
    "body", [POST | {"title": "Other"}, POST | {"content": "World "}, POST | {"status": "draft"}], ids=repr
)
def test_another_body_is_refused(alice: Person, app: Flask, body: dict[str, str]) -> None:
    first = write(alice)
    assert problem(write(alice, body=body)) == (422, "idempotency_key_reused")
    assert count_rows(app, Post) == 1
    check_replay(first, write(alice))


def test_a_password_is_not_compared(carol: Person, client: FlaskClient, app: Flask) -> None:
    """A fast hash of it would allow to guess it. The account has the password of the first request."""
    first = write(carol, body=USER, path="/users")
    check_replay(first, write(carol, body=USER | {"password": "another good one"}, path="/users"))
    statuses = [
        client.post(API + "/auth/login", json={"email": USER["email"], "password": password}).status_code
        for password in (PASSWORD, "another good one")
    ]
    assert statuses == [200, 401]
    assert problem(write(carol, body=USER | {"name": "Other"}, path="/users")) == (422, "idempotency_key_reused")


class Token(InputSchema):
    """An object with a secret member."""

    name = Text(1, 9)
    secret = Text(1, 9, load_only=True)


class Secrets(Token):
    """A body of a plug-in that has secrets at any depth."""

    renamed = Text(1, 9, load_only=True, attribute="other_name", data_key="else")
    inner = Text(1, 9, load_only=True, attribute="deep.secret")
    amount = fields.Decimal()
    one = fields.Nested(Token)
    several = fields.Nested(Token, many=True)
    listed = fields.List(fields.Nested(Token))
    texts = fields.List(Text(1, 9, load_only=True))
    pair = fields.Tuple((Text(1, 9), Text(1, 9, load_only=True)))
    by_name = fields.Dict(keys=Text(1, 9), values=fields.Nested(Token))
    hidden = fields.Dict(load_only=True)
    whole = fields.Nested(Token, load_only=True)
    plain = fields.Dict()


def body_with(secret: str, name: str = "n") -> dict[str, Any]:
    """Return a body in which `secret` is the value of each secret, and `name` that of every other member."""
    token = {"name": name, "secret": secret}
    return token | {
        "else": secret,
        "inner": secret,
        "amount": str(len(name)),
        "one": token,
        "several": [token, token],
        "listed": [token],
        "texts": [secret],
        "pair": [name, secret],
        "by_name": {"a": token},
        "hidden": {"a": secret},
        "whole": token,
        "plain": {"name": name},
    }


def test_no_secret_of_any_schema_is_part_of_a_fingerprint(app: Flask) -> None:
    def compared(schema: Schema, body: dict[str, Any]) -> bytes:
        with app.test_request_context():
            return idempotency._request_bytes(schema, schema.load(body))

    schema = Secrets()
    assert compared(schema, body_with("one")) == compared(schema, body_with("other"))
    assert b"0n3" not in compared(schema, body_with("0n3"))
    assert compared(schema, body_with("one", "n")) != compared(schema, body_with("one", "m"))
    # Each of the other members is compared.
    full = body_with("one")
    assert compared(schema, full | {"amount": "7.5"}) != compared(schema, full)
    for name in ("name", "one", "several", "listed", "pair", "by_name", "plain"):
        assert compared(schema, full | {name: body_with("one", "m")[name]}) != compared(schema, full)


def test_every_secret_of_a_request_is_a_load_only_field(app: Flask) -> None:
    """So that it stays out of fingerprints when a route takes an Idempotency-Key."""
    found = {}
    for name, endpoint in components_of(app).endpoints.items():
        for field_name, field in endpoint.body.fields.items() if endpoint.body is not None else ():
            if "password" in field_name or "token" in field_name or field.metadata.get("format") == "password":
                found[f"{name}.{field_name}"] = field.load_only
    assert len(found) >= 5
    assert all(found.values()), found


def test_another_route_is_another_request(carol: Person, app: Flask) -> None:
    write(carol)
    assert problem(write(carol, body=USER, path="/users")) == (422, "idempotency_key_reused")
    assert count_rows(app, User) == 1


def test_another_key_is_another_post(alice: Person, app: Flask) -> None:
    for key in ("a", "b", "A", "a.", "a,b"):
        assert "Idempotency-Replayed" not in write(alice, key).headers
    assert count_rows(app, Post) == 5


def test_another_caller_s_key_is_another_s(alice: Person, bob: Person, app: Flask) -> None:
    first, second = write(alice), write(bob)
    assert first.get_json()["id"] != second.get_json()["id"]
    check_replay(second, write(bob))
    assert problem(write(bob, body=POST | {"title": "Other"}))[1] == "idempotency_key_reused"
    assert count_rows(app, Post) == 2


def test_without_a_key_each_request_makes_a_post(alice: Person, app: Flask) -> None:
    for _ in range(2):
        assert "Idempotency-Replayed" not in alice.post("/posts", json=POST).headers
    assert count_rows(app, Post) == 2
    assert count_rows(app, KeptAnswer) == 0


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "é", "\x7f", "x" * 256, "ключ"])
def test_a_key_is_visible_ascii(alice: Person, app: Flask, key: str) -> None:
    # WSGI servers decode header bytes as Latin-1 (PEP 3333).
    environ = {"HTTP_IDEMPOTENCY_KEY": key.encode().decode("latin-1")}
    response = alice.post("/posts", json=POST, environ_overrides=environ)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == {"Idempotency-Key": ["Must be 1 to 255 visible ASCII characters."]}
    assert count_rows(app, Post) == 0


@pytest.mark.parametrize(
    "key", ["x", "x" * 255, "!~\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}", "8e03978e-40d5-43dd-bc93-6894a57f9324"]
)
def test_any_visible_ascii_is_a_key(alice: Person, key: str) -> None:
    check_replay(write(alice, key), write(alice, key))


@pytest.mark.parametrize(("seconds", "rows"), [(-1, 1), (0, 2), (1, 2)])
def test_a_response_is_stored_for_24_hours(alice: Person, app: Flask, clock: Clock, seconds: int, rows: int) -> None:
    first = write(alice)
    clock.forward(hours=24, seconds=seconds)
    again = write(alice)
    assert again.status_code == 201
    assert ("Idempotency-Replayed" in again.headers) == (rows == 1)
    assert count_rows(app, Post) == rows
    assert count_rows(app, KeptAnswer) == 1
    check_replay(first if rows == 1 else again, write(alice))


def test_after_24_hours_the_key_can_be_used_for_another_request(alice: Person, clock: Clock) -> None:
    write(alice)
    clock.forward(hours=24)
    other = POST | {"title": "Other"}
    check_replay(write(alice, body=other), write(alice, body=other))


def test_a_conflict_is_not_stored(alice: Person, carol: Person, app: Flask) -> None:
    """Nor is an error of validation."""
    body = USER | {"email": alice.email}
    assert problem(write(carol, body=body | {"name": ""}, path="/users")) == (422, "validation_error")
    assert problem(write(carol, body=body, path="/users")) == (409, "email_taken")
    assert count_rows(app, KeptAnswer) == 0
    carol.delete(f"/users/{alice.id}")
    assert write(carol, body=body, path="/users").status_code == 201


def test_a_failure_stores_neither_row_nor_response(alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    create = posts.create_post

    def fail(*arguments: Any, **members: Any) -> None:
        create(*arguments, **members)
        raise RuntimeError("after the row")

    with monkeypatch.context() as patch:
        patch.setattr(posts, "create_post", fail)
        assert problem(write(alice)) == (500, "internal_error")
    assert count_rows(app, Post) == count_rows(app, KeptAnswer) == 0
    assert write(alice).status_code == 201


def test_the_caller_is_authenticated_first(alice: Person, carol: Person, client: FlaskClient) -> None:
    write(carol, body=USER, path="/users")
    headers = {"Idempotency-Key": "key"}
    assert problem(client.post(API + "/posts", json=POST, headers=headers)) == (401, "authentication_required")
    assert problem(write(alice, body=USER, path="/users")) == (403, "forbidden")


def test_a_former_admin_gets_no_stored_response(carol: Person, app: Flask) -> None:
    write(carol, body=USER | {"role": "admin"}, path="/users")
    with app.app_context(), transaction():
        db.session.execute(text("UPDATE users SET role = 'user' WHERE name = 'Carol'"))
    assert problem(write(carol, body=USER | {"role": "admin"}, path="/users")) == (403, "forbidden")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_ignore_the_key(alice: Person, app: Flask, method: str) -> None:
    path = f"/posts/{write(alice, 'first').get_json()['id']}"
    response = alice.call(method, path, json=None if method == "DELETE" else POST, headers={"Idempotency-Key": "é"})
    assert response.status_code in (200, 204)
    assert count_rows(app, KeptAnswer) == 1


def test_neither_body_nor_password_can_be_read_from_the_stored_row(carol: Person, app: Flask) -> None:
    write(carol, body=USER, path="/users")
    with app.app_context():
        kept = db.session.scalars(select(KeptAnswer)).one()
        assert len(kept.fingerprint) == 16
        assert PASSWORD.encode() not in kept.fingerprint + kept.body


@pytest.mark.parametrize(
    ("path", "body", "expected"), [("/posts", POST, (401, "token_revoked")), ("/users", USER, (403, "forbidden"))]
)
def test_a_caller_deleted_in_the_meantime_is_refused(
    carol: Person, app: Flask, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, str], expected: object
) -> None:
    """The account is deleted after the authentication of the request: neither its writes nor its response remain."""
    reserve = idempotency.reserve

    def delete_and_reserve(*arguments: Any) -> Any:
        delete_user_row(app, carol.id)
        return reserve(*arguments)

    monkeypatch.setattr(idempotency, "reserve", delete_and_reserve)
    assert problem(write(carol, body=body, path=path)) == expected
    assert count_rows(app, Post) == count_rows(app, User) == count_rows(app, KeptAnswer) == 0


def test_a_response_for_an_unknown_user_is_not_stored(app: Flask) -> None:
    with app.test_request_context(), pytest.raises(TokenRevoked), transaction():
        idempotency.keep(Reservation(999, "key", b""), Response(status=201))
    assert count_rows(app, KeptAnswer) == 0


def test_a_stored_response_is_valid_after_a_change_of_the_secret(
    alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(alice)
    old = components_of(app).settings
    key = "another-key-for-the-tests-0123456789"
    settings = settings_for(old.database_url, jwt_secret_key=key, jwt_previous_secret_keys=(old.jwt_secret_key,))
    monkeypatch.setattr(components_of(app), "keyed_hasher", KeyedHasher(settings))
    check_replay(first, write(alice))


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True, scope="session")
def test_a_key_in_use_is_refused_with_retry_after(alice: Person, app: Flask) -> None:
    """Another transaction has locked the key. On SQLite, with one writer at a time, the request would wait instead."""
    with app.app_context():
        idempotency._lock(idempotency.Reservation(alice.id, "key", b""))
        # In another thread, because the test client would reuse this context and its session, which has the lock.
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(write, alice).result()
        db.session.rollback()
    assert problem(answer) == (409, "idempotency_in_progress")
    assert answer.headers["Retry-After"] == "1"
    assert write(alice).status_code == 201


def test_expired_responses_are_pruned(alice: Person, app: Flask, clock: Clock) -> None:
    write(alice, "old")
    clock.forward(hours=23)
    write(alice, "new")
    clock.forward(hours=1)
    with app.app_context(), transaction():
        assert idempotency.prune(100) == 1
    assert count_rows(app, KeptAnswer, key="new") == 1
    assert timedelta(hours=24) == idempotency.KEPT_FOR


def test_a_new_response_deletes_the_expired_ones_of_its_user(alice: Person, app: Flask, clock: Clock) -> None:
    write(alice, "old")
    clock.forward(hours=25)
    write(alice, "new")
    assert count_rows(app, KeptAnswer) == 1


def test_replicas_with_other_secrets_use_the_same_lock(alice: Person, app: Flask) -> None:
    """While the signing key is rotated, replicas with the old and the new key run at the same time."""
    if components_of(app).settings.uses_sqlite:
        return  # SQLite has one writer at a time
    settings = components_of(app).settings
    rotated = replace(
        settings,
        jwt_secret_key="another-key-for-the-tests-9876543210",
        jwt_previous_secret_keys=(settings.jwt_secret_key,),
    )
    other = create_app(rotated)
    reservation = Reservation(alice.id, "key", b"")
    with other.app_context():
        idempotency._lock(reservation)
        with app.app_context(), pytest.raises(IdempotencyInProgress):
            idempotency._lock(reservation)
        db.session.rollback()
        db.engine.dispose()
