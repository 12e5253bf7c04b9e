"""PUT and PATCH /posts/{id}."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import API, Clock, Person, problem
from tests.posts.conftest import Write

WHOLE = {"title": "New", "content": "Text", "status": "published"}
BOTH = pytest.mark.parametrize("method", ["PUT", "PATCH"])


def path_of(post: dict[str, Any]) -> str:
    """Return the path of a post, relative to the API's base path."""
    return f"/posts/{post['id']}"


@BOTH
def test_the_author_changes_a_post(alice: Person, client: FlaskClient, write: Write, method: str) -> None:
    post = write(alice)
    response = alice.call(method, path_of(post), json=WHOLE)
    changed = response.get_json()
    assert response.status_code == 200
    assert changed == post | WHOLE | {"updated_at": changed["updated_at"]}
    assert changed["updated_at"] > post["updated_at"]
    read = client.get(API + path_of(post))
    assert (read.get_json(), read.headers["ETag"]) == (changed, response.headers["ETag"])
    assert response.headers["Cache-Control"] == "no-store"


@BOTH
@pytest.mark.parametrize("status", ["draft", "published"])
def test_an_admin_changes_it_too_and_does_not_become_its_author(
    alice: Person, carol: Person, write: Write, method: str, status: str
) -> None:
    post = write(alice, status=status)
    changed = carol.call(method, path_of(post), json=WHOLE).get_json()
    assert (changed["title"], changed["author"]) == ("New", post["author"])


@BOTH
def test_a_stranger_may_not(alice: Person, bob: Person, write: Write, method: str) -> None:
    post = write(alice)
    assert problem(bob.call(method, path_of(post), json=WHOLE)) == (403, "forbidden")
    assert alice.get(path_of(post)).get_json() == post


@BOTH
def test_another_s_draft_does_not_exist(alice: Person, bob: Person, write: Write, method: str) -> None:
    draft = write(alice, status="draft")
    refused = bob.call(method, path_of(draft), json=WHOLE, headers={"X-Request-ID": "same"})
    missing = bob.call(method, "/posts/999", json=WHOLE, headers={"X-Request-ID": "same"})
    assert problem(refused) == (404, "not_found")
    assert refused.data == missing.data
    assert alice.get(path_of(draft)).get_json() == draft


@BOTH
@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"title": ""}, {"title": ["Must not be empty."]}),
        ({"title": "x" * 201}, {"title": ["Must have at most 200 characters."]}),
        ({"status": "gone"}, {"status": ["Must be one of: draft, published."]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_change_changes_nothing(
    alice: Person, write: Write, method: str, changes: dict[str, Any], errors: dict[str, Any]
) -> None:
    post = write(alice)
    response = alice.call(method, path_of(post), json=WHOLE | changes)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == errors
    assert alice.get(path_of(post)).get_json() == post


@pytest.mark.parametrize("missing", ["title", "content"])
def test_put_needs_every_required_member(alice: Person, write: Write, missing: str) -> None:
    post = write(alice)
    body = {name: value for name, value in WHOLE.items() if name != missing}
    response = alice.put(path_of(post), json=body)
    assert response.get_json()["errors"] == {missing: ["Missing data for required field."]}
    assert alice.get(path_of(post)).get_json() == post


@pytest.mark.parametrize("name", WHOLE)
def test_patch_changes_what_is_sent_alone(alice: Person, write: Write, name: str) -> None:
    post = write(alice, title="Old", content="Old")
    changed = alice.patch(path_of(post), json={name: WHOLE[name]}).get_json()
    different = {key for key in post if changed[key] != post[key]}
    assert different <= {name, "updated_at"}
    assert changed[name] == WHOLE[name]


@BOTH
def test_a_change_to_the_same_is_none(alice: Person, write: Write, method: str) -> None:
    post = write(alice)
    same = {name: post[name] for name in WHOLE}
    assert alice.call(method, path_of(post), json=same).get_json() == post


def test_an_empty_patch_is_none(alice: Person, write: Write) -> None:
    post = write(alice)
    response = alice.patch(path_of(post), json={})
    assert (response.status_code, response.get_json()) == (200, post)


def test_publication_is_dated_when_a_draft_ends(alice: Person, write: Write, clock: Clock) -> None:
    draft = write(alice, status="draft")
    clock.forward(hours=1)
    published = alice.patch(path_of(draft), json={"status": "published"}).get_json()
    assert published["published_at"] == published["updated_at"] > draft["created_at"]
    clock.forward(hours=1)
    edited = alice.patch(path_of(draft), json={"title": "Later"}).get_json()
    assert edited["published_at"] == published["published_at"] < edited["updated_at"]
    withdrawn = alice.patch(path_of(draft), json={"status": "draft"}).get_json()
    assert withdrawn["published_at"] is None
    clock.forward(hours=1)
    again = alice.patch(path_of(draft), json={"status": "published"}).get_json()
    assert again["published_at"] > published["published_at"]
    assert again["created_at"] == draft["created_at"]


def test_a_withdrawn_post_is_gone_for_others(alice: Person, bob: Person, write: Write) -> None:
    post = write(alice)
    alice.patch(path_of(post), json={"status": "draft"})
    assert problem(bob.get(path_of(post))) == (404, "not_found")
    assert bob.get("/posts").get_json()["items"] == []


@BOTH
@pytest.mark.parametrize("post_id", ["999", "0", "abc", str(2**63)])
def test_what_does_not_exist_can_not_be_changed(alice: Person, method: str, post_id: str) -> None:
    assert problem(alice.call(method, f"/posts/{post_id}", json=WHOLE)) == (404, "not_found")
