"""DELETE /users/{id} and `users purge` for accounts with more rows than one transaction deletes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app.api.idempotency.models import KeptAnswer
from app.audit.models import AuthEvent
from app.auth.models import Session
from app.components import components_of
from app.database import db
from app.posts import service as posts
from app.posts.models import Post
from app.users import deletion
from app.users.models import User
from gatepost.testing.applications import application
from gatepost.testing.rows import count_rows
from tests.conftest import API, PASSWORD, ROOT, Cast, Person, empty, problem

POSTS = 20_000
NEW_POSTS = """
INSERT INTO posts (author_id, title, content, status, published_at, created_at, updated_at)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
SELECT :author_id, 'Title', 'Text', 'published', created_at, created_at, created_at FROM numbers, users
WHERE users.id = :author_id
"""
# Calls `users purge` with small batches, so that a test can end it between two of them.
PURGE_SLOWLY = """
from app import create_app
from app.users import deletion
deletion.BATCH = 10
create_app().test_cli_runner().invoke(args=["users", "purge"])
"""


@pytest.fixture
def app(app: Flask) -> Iterator[Flask]:
    """The application with long timeouts, for a machine that is busy with other things."""
    patient: dict[str, Any] = {
        "db_lock_timeout_ms": 60_000,
        # Of the batches of 2,000 rows; with a plan that reads the whole table for each row, one takes ten seconds.
        "db_statement_timeout_ms": 5_000,
        "db_pool_timeout_seconds": 60,
    }
    with application(replace(components_of(app).settings, **patient)) as made:
        yield made
        with made.app_context():
            db.session.remove()
            empty(db.engine)


def write_posts(app: Flask, author: Person, count: int = POSTS) -> None:
    """Insert published posts, faster than by requests."""
    with app.app_context(), db.engine.begin() as connection:
        # The statistics stay those of an empty table, as after a quick import.
        connection.execute(text("ANALYZE posts"))
        # In parts, because the statement timeout applies here too.
        for start in range(0, count, 1000):
            connection.execute(text(NEW_POSTS), {"author_id": author.id, "count": min(1000, count - start)})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each request delete two batches, which are 4,000 rows: the one that hides the account, and one more."""
    monkeypatch.setattr(deletion, "REQUEST_SECONDS", 0)


@pytest.fixture
def hidden(app: Flask, alice: Person, carol: Person, hurried: None) -> Person:
    """Alice, whose account is hidden and has posts left."""
    write_posts(app, alice)
    assert carol.delete(f"/users/{alice.id}").status_code == 202
    assert count_rows(app, Post, author_id=alice.id) == POSTS - 2 * deletion.BATCH
    return alice


def purge(app: Flask) -> str:
    """Run `users purge` and return its output."""
    result = app.test_cli_runner().invoke(args=["users", "purge"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("who", ["alice", "carol"])
def test_a_deletion_that_takes_long_is_accepted(
    request: pytest.FixtureRequest, app: Flask, alice: Person, hurried: None, who: str
) -> None:
    caller: Person = request.getfixturevalue(who)
    write_posts(app, alice)
    response = caller.delete(f"/users/{alice.id}", headers={"If-Match": alice.get("/auth/me").headers["ETag"]})
    assert (response.status_code, response.get_json()) == (202, {"status": "deleting"})
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Cache-Control"] == "no-store"
    assert count_rows(app, AuthEvent, event="user_deleted", user_id=alice.id) == 1


def test_repeating_the_request_finishes_the_deletion(app: Flask, hidden: Person, carol: Person, bob: Person) -> None:
    bob.post("/posts", json={"title": "Bob's", "content": "Text"})
    responses = [carol.delete(f"/users/{hidden.id}", headers={"If-Match": '"old"'}) for _ in range(6)]
    assert [response.status_code for response in responses] == [202, 202, 202, 202, 204, 404]
    assert count_rows(app, User, id=hidden.id) == 0
    assert count_rows(app, Post) == 1
    assert count_rows(app, AuthEvent, event="user_deleted") == 1


def test_the_account_is_not_found_by_anyone(client: FlaskClient, hidden: Person, carol: Person, bob: Person) -> None:
    path = f"/users/{hidden.id}"
    for caller in (bob, carol):
        assert problem(caller.get(path)) == (404, "not_found")
        assert problem(caller.get(f"{path}/posts")) == (404, "not_found")
        names = [user["name"] for user in caller.get("/users?page=1").get_json()["items"]]
        assert names == ["Carol", "Bob"]
    assert problem(client.get(API + path)) == (404, "not_found")
    assert problem(carol.patch(path, json={"is_active": True})) == (404, "not_found")
    assert problem(carol.put(path, json={"name": "Alice"})) == (404, "not_found")
    assert problem(bob.delete(path)) == (403, "forbidden")
    assert carol.get("/users?q=alice").get_json()["items"] == []


def test_its_owner_is_signed_out(client: FlaskClient, hidden: Person) -> None:
    assert problem(hidden.get("/auth/me")) == (401, "token_revoked")
    refresh = client.post(f"{API}/auth/refresh", json={"refresh_token": hidden.refresh_token})
    assert problem(refresh) == (401, "token_revoked")
    login = client.post(f"{API}/auth/login", json={"email": hidden.email, "password": PASSWORD})
    assert problem(login) == (401, "invalid_credentials")


def test_its_posts_disappear_at_once(
    app: Flask, client: FlaskClient, hidden: Person, carol: Person, bob: Person
) -> None:
    with app.app_context(), db.engine.connect() as connection:
        post_id = connection.scalar(text("SELECT max(id) FROM posts"))
    for query in ("", "page=1", f"author_id={hidden.id}", f"author_id={hidden.id}&page=1", "sort=title"):
        for more in ("", "&include=content"):
            answer = client.get(f"{API}/posts?limit=20&{query}{more}").get_json()
            assert answer["items"] == []
            assert answer["pagination"].get("total", 0) == 0
    for caller in (bob, carol):
        assert problem(caller.get(f"/posts/{post_id}")) == (404, "not_found")
        assert problem(caller.patch(f"/posts/{post_id}", json={"title": "Mine"})) == (404, "not_found")
        assert problem(caller.delete(f"/posts/{post_id}")) == (404, "not_found")


def test_nothing_personal_is_left_and_the_address_is_free(app: Flask, client: FlaskClient, hidden: Person) -> None:
    with app.app_context(), db.engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM users WHERE id = :id"), {"id": hidden.id}).one()
    assert not {hidden.email, hidden.name, "alice"} & set(row)
    assert "No account has the address" in run(app, "enable", hidden.email)
    body = {"email": hidden.email, "name": "Alice", "password": PASSWORD}
    assert client.post(f"{API}/auth/register", json=body).status_code == 201
    assert "purged" in purge(app)
    assert count_rows(app, User, email=hidden.email) == 1


def run(app: Flask, *arguments: str) -> str:
    """Run a `users` command and return its output."""
    return app.test_cli_runner().invoke(args=["users", *arguments]).output


def test_the_command_deletes_the_rest(app: Flask, hidden: Person, join: Cast, carol: Person) -> None:
    dave = join("Dave")
    write_posts(app, dave, 9000)
    assert dave.delete(f"/users/{dave.id}").status_code == 202
    assert "alice" not in run(app, "list")
    assert purge(app) == "2 deleted accounts purged.\n"
    assert (count_rows(app, User), count_rows(app, Post)) == (1, 0)
    assert purge(app) == "0 deleted accounts purged.\n"


def test_a_hidden_administrator_does_not_count(
    app: Flask, carol: Person, join: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "BATCH", 2)
    monkeypatch.setattr(deletion, "REQUEST_SECONDS", 0)
    dora = join("Dora", role="admin")
    write_posts(app, dora, 9)
    write_posts(app, carol, 9)
    assert dora.delete(f"/users/{dora.id}").status_code == 202
    assert problem(carol.delete(f"/users/{carol.id}")) == (409, "last_admin")
    assert count_rows(app, Post, author_id=carol.id) == 9
    assert count_rows(app, AuthEvent, event="user_deleted") == 1


def test_rows_of_every_table_go_in_batches(app: Flask, alice: Person, carol: Person, monkeypatch: Any) -> None:
    login = {"email": alice.email, "password": PASSWORD}
    for number in range(5):
        assert alice.client.post(f"{API}/auth/login", json=login).status_code == 200
        post = {"title": "Hello", "content": "Text"}
        assert alice.post("/posts", json=post, headers={"Idempotency-Key": f"key-{number}"}).status_code == 201
    counts: list[int] = []
    delete_some = deletion.delete_some

    def observed(user_id: int, limit: int) -> int:
        counts.append(delete_some(user_id, limit))
        return counts[-1]

    monkeypatch.setattr(deletion, "BATCH", 2)
    monkeypatch.setattr(deletion, "delete_some", observed)
    assert carol.delete(f"/users/{alice.id}").status_code == 204
    # Of 5 posts, 6 sessions and 5 stored responses.
    assert counts == [2] * (2 + 3 + 2) + [0]
    for model, owner in ((Post, "author_id"), (Session, "user_id"), (KeptAnswer, "user_id")):
        assert count_rows(app, model, **{owner: alice.id}) == 0


def test_two_requests_and_two_commands_at_once_delete_it_once(
    app: Flask, hidden: Person, carol: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def request() -> int:
        status = 202
        while status == 202:
            status = app.test_client().delete(f"{API}/users/{hidden.id}", headers=carol.headers).status_code
        return status

    monkeypatch.setattr(deletion, "BATCH", 500)
    with ThreadPoolExecutor(4) as pool:
        requests = [pool.submit(request) for _ in range(2)]
        commands = [pool.submit(purge, app) for _ in range(2)]
    assert {future.result() for future in requests} <= {204, 404}
    for command in commands:
        command.result()
    assert (count_rows(app, User, id=hidden.id), count_rows(app, Post)) == (0, 0)
    assert count_rows(app, AuthEvent, event="user_deleted") == 1


def test_a_killed_command_can_be_run_again(app: Flask, hidden: Person, database_url: str) -> None:
    variables = {"APP_ENV": "testing", "DATABASE_URL": database_url, "JWT_SECRET_KEY": "k" * 40, "PATH": "/usr/bin"}
    process = subprocess.Popen([sys.executable, "-c", PURGE_SLOWLY], cwd=ROOT, env=variables)
    before, deadline = count_rows(app, Post), time.monotonic() + 120
    while (left := count_rows(app, Post)) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < left < before
    assert count_rows(app, User, id=hidden.id) == 1
    assert purge(app) == "1 deleted accounts purged.\n"
    assert (count_rows(app, User, id=hidden.id), count_rows(app, Post)) == (0, 0)


def test_others_can_write_meanwhile(app: Flask, hidden: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "BATCH", 200)
    thread = threading.Thread(target=purge, args=[app])
    thread.start()
    statuses = []
    while thread.is_alive():
        statuses.append(bob.post("/posts", json={"title": "Bob's", "content": "Text"}).status_code)
    thread.join()
    assert set(statuses) == {201}
    assert count_rows(app, Post) == len(statuses)


def test_a_post_that_was_written_during_the_deletion_goes_too(
    app: Flask, client: FlaskClient, alice: Person, carol: Person, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was authorized before the deletion, and its INSERT comes after it."""
    create_post = posts.create_post

    def delete_and_create(*arguments: Any, **options: Any) -> Any:
        write_posts(app, alice)
        assert carol.delete(f"/users/{alice.id}").status_code == 202
        return create_post(*arguments, **options)

    monkeypatch.setattr(posts, "create_post", delete_and_create)
    response = alice.post("/posts", json={"title": "Late", "content": "Text"})
    assert response.status_code == 201
    assert problem(client.get(response.headers["Location"])) == (404, "not_found")
    assert purge(app) == "1 deleted accounts purged.\n"
    assert count_rows(app, Post) == 0
