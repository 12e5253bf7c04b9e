"""Entity tags and conditional requests (RFC 9110 section 13)."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import API, Person, problem

WRITES = pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
BODIES: dict[str, dict[str, Any]] = {
    "PUT": {"json": {"title": "New", "content": "Text"}},
    "PATCH": {"json": {"title": "New"}},
    "DELETE": {},
}


@pytest.fixture
def path(alice: Person) -> str:
    """The path of a post by Alice."""
    response = alice.post("/posts", json={"title": "Hello", "content": "World"})
    return f"/posts/{response.get_json()['id']}"


def tag_of(response: TestResponse) -> str:
    """The ETag of a response."""
    return str(response.headers["ETag"])


def test_a_resource_has_a_strong_tag_that_does_not_change(alice: Person, client: FlaskClient, path: str) -> None:
    first, second = client.get(API + path), client.get(API + path)
    assert tag_of(first) == tag_of(second) == tag_of(alice.get(path))
    assert tag_of(first).startswith('"')
    assert tag_of(first).endswith('"')


@pytest.mark.parametrize("other", ["title", "content", "status"])
def test_the_tag_changes_with_the_resource(alice: Person, path: str, other: str) -> None:
    before = tag_of(alice.get(path))
    after = alice.patch(path, json={other: "draft" if other == "status" else "Other"})
    assert tag_of(after) != before
    assert tag_of(after) == tag_of(alice.get(path))


def test_the_tag_of_a_post_changes_with_its_author_s_name(alice: Person, path: str) -> None:
    before = tag_of(alice.get(path))
    alice.patch(f"/users/{alice.id}", json={"bio": "The name stays."})
    assert tag_of(alice.get(path)) == before
    alice.patch(f"/users/{alice.id}", json={"name": "Alicia"})
    assert tag_of(alice.get(path)) != before
    assert problem(alice.patch(path, json={"title": "x"}, headers={"If-Match": before}))[0] == 412


MATCHING = ("{tag}", "W/{tag}", "*", " * ", '"a", {tag}', '"a",{tag},"b"', 'W/"a" , W/{tag}', "\t{tag}\t", ", , {tag},")
OTHERS = ('"a"', 'W/"a"', "", '""', "{bare}", "'{bare}'", '"{bare}', '"{bare}-gzip"', '"*"', '"é"')


@pytest.mark.parametrize(
    ("header", "status"),
    [*((header, 304) for header in (*MATCHING, '"with, comma", {tag}')), *((header, 200) for header in OTHERS)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match(client: FlaskClient, path: str, header: str, status: int, method: str) -> None:
    tag = tag_of(client.get(API + path))
    value = header.format(tag=tag, bare=tag.strip('"'))
    response = client.open(API + path, method=method, headers={"If-None-Match": value})
    assert response.status_code == status


@pytest.mark.parametrize("who", [None, "alice"])
def test_a_304_has_the_headers_of_the_200_and_no_body(
    client: FlaskClient, alice: Person, path: str, who: str | None
) -> None:
    headers = alice.headers if who else {}
    full = client.get(API + path, headers=headers)
    empty = client.get(API + path, headers=headers | {"If-None-Match": tag_of(full)})
    assert (empty.status_code, empty.data) == (304, b"")
    assert "Content-Type" not in empty.headers
    for name in ("ETag", "Cache-Control", "X-Content-Type-Options"):
        assert empty.headers[name] == full.headers[name]
    assert set(empty.vary) == set(full.vary) >= {"Authorization", "Origin"}
    assert "X-Request-ID" in empty.headers


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "status"),
    [
        ("{tag}", None, 200),
        ("*", None, 200),
        (" * ", None, 200),
        ('"a", {tag}', None, 200),
        ('"stale"', None, 412),
        ("W/{tag}", None, 412),
        ("", None, 412),
        ('"*"', None, 412),
        # RFC 9110 section 13.2.2: If-Match is evaluated before If-None-Match.
        ("{tag}", "{tag}", 304),
        ("{tag}", '"a"', 200),
        ("*", "*", 304),
        ('"stale"', "{tag}", 412),
        ('"stale"', '"a"', 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_match_applies_to_reads_of_a_resource(
    client: FlaskClient, path: str, if_match: str, if_none_match: str | None, status: int, method: str
) -> None:
    tag = tag_of(client.get(API + path))
    headers = {"If-Match": if_match.format(tag=tag)}
    if if_none_match is not None:
        headers["If-None-Match"] = if_none_match.format(tag=tag)
    response = client.open(API + path, method=method, headers=headers)
    assert response.status_code == status
    if status == 412:
        assert "ETag" not in response.headers


@pytest.mark.parametrize("path", ["/posts", "/posts?page=1", "/users/{alice}/posts"])
@pytest.mark.parametrize(("header", "status"), [("*", 200), ("{tag}", 412), ("{strong}", 412), ('"a"', 412)])
def test_the_weak_tag_of_a_list_never_matches_if_match(
    client: FlaskClient, alice: Person, path: str, header: str, status: int
) -> None:
    url = API + path.format(alice=alice.id)
    tag = tag_of(client.get(url))
    assert tag.startswith("W/")
    headers = {"If-Match": header.format(tag=tag, strong=tag.removeprefix("W/"))}
    assert client.get(url, headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/page.js", "/.well-known/jwks.json"])
def test_documents_evaluate_preconditions_too(client: FlaskClient, path: str) -> None:
    tag = tag_of(client.get(path))
    for headers, status in (
        ({"If-Match": tag}, 200),
        ({"If-Match": tag, "If-None-Match": tag}, 304),
        ({"If-Match": '"stale"', "If-None-Match": tag}, 412),
    ):
        assert client.get(path, headers=headers).status_code == status


def test_a_refusal_comes_before_the_precondition(client: FlaskClient, alice: Person, bob: Person) -> None:
    """RFC 9110 section 13.2.1: it is ignored if the response would not be a success."""
    stale = {"If-Match": '"stale"'}
    assert problem(client.get(f"{API}/posts/999", headers=stale)) == (404, "not_found")
    assert problem(client.get(f"{API}/auth/me", headers=stale)) == (401, "authentication_required")
    assert problem(client.get(f"{API}/posts?limit=0", headers=stale)) == (422, "validation_error")
    assert problem(client.get("/problems/no-such-problem", headers=stale)) == (404, "not_found")
    assert problem(bob.get(f"/users/{alice.id}/export", headers=stale)) == (403, "forbidden")
    assert problem(client.post(f"{API}/posts", headers=stale)) == (401, "authentication_required")
    assert client.options(f"{API}/posts", headers=stale).status_code == 204


def test_a_post_with_a_tag_creates_nothing(alice: Person, client: FlaskClient) -> None:
    """The target of the request is the list, whose weak tag never matches."""
    body = {"title": "T", "content": "C"}
    for header in ('"stale"', tag_of(client.get(f"{API}/posts"))):
        headers = {"If-Match": header, "Idempotency-Key": "key"}
        assert problem(alice.post("/posts", json=body, headers=headers)) == (412, "precondition_failed")
    assert client.get(f"{API}/posts").get_json()["items"] == []
    created = alice.post("/posts", json=body, headers={"If-Match": "*", "Idempotency-Key": "key"})
    assert (created.status_code, "Idempotency-Replayed" in created.headers) == (201, False)


@pytest.mark.parametrize("user", ["alice", "carol"])
def test_a_changed_profile_has_another_tag(request: pytest.FixtureRequest, alice: Person, user: str) -> None:
    caller: Person = request.getfixturevalue(user)
    path = f"/users/{alice.id}"
    tag = tag_of(caller.get(path))
    changed = caller.patch(path, json={"bio": "x"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert tag_of(changed) == tag_of(caller.get(path)) != tag
    assert problem(caller.patch(path, json={"bio": "y"}, headers={"If-Match": tag})) == (412, "precondition_failed")
    assert caller.get(path).get_json()["bio"] == "x"


@WRITES
@pytest.mark.parametrize("header", ["{tag}", "*", '"a", {tag}', 'W/"a",{tag}'])
@pytest.mark.parametrize("who", ["alice", "carol"])
def test_a_write_with_the_current_tag_succeeds(
    request: pytest.FixtureRequest, alice: Person, path: str, method: str, header: str, who: str
) -> None:
    caller: Person = request.getfixturevalue(who)
    value = header.format(tag=tag_of(caller.get(path)))
    response = caller.call(method, path, headers={"If-Match": value}, **BODIES[method])
    assert response.status_code in (200, 204)


@WRITES
def test_a_write_with_if_none_match_of_another_tag_succeeds(alice: Person, path: str, method: str) -> None:
    response = alice.call(method, path, headers={"If-None-Match": '"other"'}, **BODIES[method])
    assert response.status_code in (200, 204)


def test_the_second_of_two_editors_gets_a_412(alice: Person, carol: Person, path: str) -> None:
    tag = tag_of(alice.get(path))
    assert alice.patch(path, json={"title": "Hers"}, headers={"If-Match": tag}).status_code == 200
    late = carol.patch(path, json={"title": "Later"}, headers={"If-Match": tag})
    assert problem(late) == (412, "precondition_failed")
    assert alice.get(path).get_json()["title"] == "Hers"


@WRITES
def test_the_permission_is_checked_before_the_tag(alice: Person, bob: Person, path: str, method: str) -> None:
    alice.patch(path, json={"status": "draft"})
    for value in (tag_of(alice.get(path)), '"other"', "*"):
        response = bob.call(method, path, headers={"If-Match": value}, **BODIES[method])
        assert problem(response) == (404, "not_found")


def test_the_body_is_validated_before_the_tag(alice: Person, path: str) -> None:
    response = alice.patch(path, json={"title": ""}, headers={"If-Match": '"stale"'})
    assert problem(response) == (422, "validation_error")


def test_the_tag_of_a_write_is_valid_for_the_next(alice: Person, path: str) -> None:
    tag = tag_of(alice.get(path))
    for number in range(3):
        response = alice.patch(path, json={"title": f"Draft {number}"}, headers={"If-Match": tag})
        assert response.status_code == 200
        tag = tag_of(response)
    assert alice.delete(path, headers={"If-Match": tag}).status_code == 204


def test_private_responses_have_tags_too(alice: Person) -> None:
    me = alice.get("/auth/me")
    again = alice.get("/auth/me", headers={"If-None-Match": tag_of(me)})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-store")


def test_an_error_has_no_tag(client: FlaskClient, path: str) -> None:
    response = client.get(API + "/posts/999", headers={"If-None-Match": "*"})
    assert problem(response) == (404, "not_found")
    assert "ETag" not in response.headers
