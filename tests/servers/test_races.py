"""Races between requests that arrive at one moment, on several workers and threads."""

from __future__ import annotations

from collections import Counter
from functools import partial

from gatepost.testing.races import Arena, generation, outcomes, race, refresh, tokens_of
from tests.conftest import PASSWORD

POST = {"title": "Hello", "content": "My first post."}


def test_twenty_refreshes_of_one_token_give_one_new_generation(arena: Arena) -> None:
    member = arena.join()
    first = member.log_in()
    replies = race(*[partial(refresh, arena, first)] * 20)
    assert outcomes(replies) == {(200, "")}
    assert {generation(reply.json["refresh_token"]) for reply in replies} == {generation(first.refresh) + 1}
    assert arena.number("SELECT generation FROM sessions WHERE user_id = :id", id=member.id) == 2
    for reply in replies:
        assert arena.call("GET", "/auth/me", token=tokens_of(reply).access).status == 200


def test_of_ten_changes_with_one_etag_one_is_made(arena: Arena) -> None:
    token = arena.join().log_in().access
    created = arena.call("POST", "/posts", token=token, body=POST)
    path = f"/posts/{created.json['id']}"
    headers = {"If-Match": created.headers["etag"]}
    titles = [f"Title {number}" for number in range(10)]
    calls = [partial(arena.call, "PATCH", path, token=token, body={"title": t}, headers=headers) for t in titles]
    replies = race(*calls)
    assert Counter(reply.outcome for reply in replies) == {(200, ""): 1, (412, "precondition_failed"): 9}
    winner = next(reply for reply in replies if reply.status == 200)
    assert arena.call("GET", path).json["title"] == winner.json["title"]


def test_of_six_registrations_of_one_email_one_succeeds(arena: Arena) -> None:
    email = f"race-{arena.join().id}@example.com"
    body = {"email": email, "name": "Erin", "password": PASSWORD}
    bodies = [{**body, "email": email.upper() if number % 2 else email} for number in range(6)]
    replies = race(*[partial(arena.call, "POST", "/auth/register", body=body) for body in bodies])
    assert Counter(reply.outcome for reply in replies) == {(201, ""): 1, (409, "email_taken"): 5}
    assert arena.number("SELECT count(*) FROM users WHERE email_key = :email", email=email) == 1


def test_of_ten_deletions_of_one_post_one_succeeds(arena: Arena) -> None:
    token = arena.join().log_in().access
    path = f"/posts/{arena.call('POST', '/posts', token=token, body=POST).json['id']}"
    replies = race(*[partial(arena.call, "DELETE", path, token=token)] * 10)
    assert Counter(reply.outcome for reply in replies) == {(204, ""): 1, (404, "not_found"): 9}


def test_ten_posts_with_one_idempotency_key_are_one_post(arena: Arena) -> None:
    member = arena.join()
    headers = {"Idempotency-Key": f"race-{member.id}"}
    create = partial(arena.call, "POST", "/posts", token=member.log_in().access, body=POST, headers=headers)
    replies = race(*[create] * 10)
    assert outcomes(replies) <= {(201, ""), (409, "idempotency_in_progress")}
    assert create().status == 201
    assert arena.number("SELECT count(*) FROM posts WHERE author_id = :id", id=member.id) == 1
