"""Races between changes of posts: idempotency keys, lost updates, deletion."""

from __future__ import annotations

from collections import Counter
from functools import partial

from gatepost.testing.races import Arena, race

POST = {"title": "Hello", "content": "My first post."}


def new_post(arena: Arena, token: str) -> tuple[str, str]:
    """Create a post; return its path and ETag."""
    reply = arena.call("POST", "/posts", token=token, body=POST)
    assert reply.status == 201
    return f"/posts/{reply.json['id']}", reply.headers["etag"]


def test_twenty_posts_with_one_key_make_one_row(arena: Arena) -> None:
    token = arena.join().log_in().access
    for number in range(5):
        write = partial(
            arena.call, "POST", "/posts", token=token, body=POST, headers={"Idempotency-Key": f"key-{number}"}
        )
        replies = race(*[write] * 20)
        kept = [reply for reply in replies if reply.status == 201]
        assert {reply.outcome for reply in replies} <= {(201, ""), (409, "idempotency_in_progress")}
        assert ["idempotency-replayed" in reply.headers for reply in kept].count(False) == 1
        assert len({reply.content for reply in kept}) == 1
        assert all("retry-after" in reply.headers for reply in replies if reply.status == 409)
        assert arena.number("SELECT count(*) FROM posts") == number + 1
        # A request that got 409 and is sent again gets the first response.
        again = write()
        assert (again.status, again.content) == (201, kept[0].content)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == kept[0].headers["location"]


def test_a_key_and_two_bodies_at_once_make_one_row(arena: Arena) -> None:
    token = arena.join().log_in().access
    bodies = [POST, POST | {"title": "Another"}] * 5
    replies = race(
        *(
            partial(arena.call, "POST", "/posts", token=token, body=body, headers={"Idempotency-Key": "one"})
            for body in bodies
        )
    )
    assert {reply.outcome for reply in replies} <= {
        (201, ""),
        (409, "idempotency_in_progress"),
        (422, "idempotency_key_reused"),
    }
    assert len({reply.content for reply in replies if reply.status == 201}) == 1
    assert arena.number("SELECT count(*) FROM posts") == 1


def test_of_two_changes_with_one_etag_one_is_made(arena: Arena) -> None:
    token = arena.join().log_in().access
    for _ in range(20):
        path, etag = new_post(arena, token)
        replies = race(
            *(
                partial(arena.call, "PATCH", path, token=token, body={"title": title}, headers={"If-Match": etag})
                for title in ("one", "other")
            )
        )
        assert sorted(reply.outcome for reply in replies) == [(200, ""), (412, "precondition_failed")]
        made = next(reply for reply in replies if reply.status == 200)
        now = arena.call("GET", path, token=token)
        assert (now.json, now.headers["etag"]) == (made.json, made.headers["etag"])


def test_a_delete_and_a_change_with_one_etag_do_not_both_happen(arena: Arena) -> None:
    token = arena.join().log_in().access
    for _ in range(10):
        path, etag = new_post(arena, token)
        headers = {"If-Match": etag}
        changed, deleted = race(
            partial(arena.call, "PATCH", path, token=token, body={"title": "changed"}, headers=headers),
            partial(arena.call, "DELETE", path, token=token, headers=headers),
        )
        assert (changed.outcome, deleted.outcome) in {
            ((200, ""), (412, "precondition_failed")),
            ((404, "not_found"), (204, "")),
        }


def test_changes_of_different_members_are_all_kept(arena: Arena) -> None:
    member, admin = arena.join(), arena.join("admin")
    token, admin_token = member.log_in().access, admin.log_in().access
    for number in range(10):
        path, _ = new_post(arena, token)
        post = {"title": f"title {number}", "content": f"content {number}", "status": "draft"}
        user = {"name": f"Name {number}", "bio": f"Bio {number}"}
        role = {"role": ("user", "admin")[number % 2]}
        changes = [(path, {name: value}, token) for name, value in post.items()]
        changes += [(f"/users/{member.id}", {name: value}, token) for name, value in user.items()]
        changes += [(f"/users/{member.id}", role, admin_token)]
        # Ten requests, of which four each change a member that the others do not change.
        changes += [(path, {"status": "draft"}, admin_token)] * 2 + [(f"/users/{member.id}", role, admin_token)] * 2
        replies = race(*(partial(arena.call, "PATCH", p, token=t, body=body) for p, body, t in changes))
        assert {reply.outcome for reply in replies} == {(200, "")}
        assert arena.call("GET", path, token=token).json.items() >= post.items()
        assert arena.call("GET", f"/users/{member.id}", token=token).json.items() >= (user | role).items()


def test_a_post_is_deleted_once(arena: Arena) -> None:
    token = arena.join().log_in().access
    for _ in range(5):
        path, _ = new_post(arena, token)
        replies = race(*[partial(arena.call, "DELETE", path, token=token)] * 8)
        assert Counter(reply.outcome for reply in replies) == {(204, ""): 1, (404, "not_found"): 7}
        assert arena.call("PATCH", path, token=token, body={"title": "late"}).outcome == (404, "not_found")
        assert arena.call("GET", path, token=token).outcome == (404, "not_found")


def test_posts_written_at_once_are_each_listed_once(arena: Arena) -> None:
    token = arena.join().log_in().access
    replies = race(*[partial(arena.call, "POST", "/posts", token=token, body=POST)] * 30)
    assert {reply.outcome for reply in replies} == {(201, "")}
    written = sorted(reply.json["id"] for reply in replies)
    listed: list[int] = []
    path = "/posts?limit=7"
    while path:
        page = arena.call("GET", path).json
        listed += [post["id"] for post in page["items"]]
        cursor = page["pagination"]["next_cursor"]
        path = f"/posts?limit=7&cursor={cursor}" if cursor else ""
    assert sorted(listed) == written
