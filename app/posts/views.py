"""The HTTP routes of posts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import url_for

from app.api.access import OPTIONAL, SIGNED_IN, Caller
from app.api.conditional import require_unchanged
from app.api.errors import Forbidden, NotFound, PreconditionFailed
from app.api.pagination import Page
from app.api.responses import Created, Shaped, created, listing, no_content, ok
from app.api.routing import Api
from app.posts import service
from app.posts.schemas import (
    LISTED_POST,
    LISTED_POST_EXCERPT,
    POST,
    AuthorPostListQuery,
    NewPost,
    PostChanges,
    PostListQuery,
)

posts = Api("posts", __name__)
CHANGES = (Forbidden, NotFound, PreconditionFailed)


@posts.operation("GET", "/posts", access=OPTIONAL, query=PostListQuery(), answer=listing(LISTED_POST))
def list_posts(caller: Caller | None, query: Mapping[str, Any]) -> Page:
    """List published posts, or your own drafts."""
    return _shown(service.list_posts(caller, query), query)


@posts.operation("POST", "/posts", access=SIGNED_IN, body=NewPost(), answer=created(POST), idempotent=True)
def create_post(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create a post. It is published immediately unless its status is 'draft'."""
    post = service.create_post(caller, **body)
    return Created(post, url_for("posts.get_post", post_id=post.id))


@posts.operation("GET", "/posts/<id:post_id>", access=OPTIONAL, answer=ok(POST), problems=(NotFound,))
def get_post(caller: Caller | None, post_id: int) -> Any:
    """Read a post. Only its author and administrators can read a draft."""
    return service.get_post(caller, post_id)


@posts.operation(
    "PUT",
    "/posts/<id:post_id>",
    access=SIGNED_IN,
    body=NewPost(),
    answer=ok(POST),
    problems=CHANGES,
)
def replace_post(caller: Caller, post_id: int, body: Mapping[str, Any]) -> Any:
    """Replace a post."""
    return _change(caller, post_id, body)


@posts.operation(
    "PATCH",
    "/posts/<id:post_id>",
    access=SIGNED_IN,
    body=PostChanges(),
    answer=ok(POST),
    problems=CHANGES,
)
def update_post(caller: Caller, post_id: int, body: Mapping[str, Any]) -> Any:
    """Change the given members of a post."""
    return _change(caller, post_id, body)


@posts.operation("DELETE", "/posts/<id:post_id>", access=SIGNED_IN, answer=no_content(), problems=CHANGES)
def delete_post(caller: Caller, post_id: int) -> None:
    """Delete a post."""
    post = service.get_post_for_change(caller, post_id)
    require_unchanged(post, POST)
    service.delete_post(post)


@posts.operation(
    "GET",
    "/users/<id:user_id>/posts",
    access=OPTIONAL,
    query=AuthorPostListQuery(),
    answer=listing(LISTED_POST),
    problems=(NotFound, Forbidden),
)
def list_posts_of(caller: Caller | None, user_id: int, query: Mapping[str, Any]) -> Page:
    """List the published posts of an author. The author also gets their drafts."""
    return _shown(service.list_posts_of(caller, user_id, query), query)


def _shown(page: Page, query: Mapping[str, Any]) -> Page:
    schema = LISTED_POST if query.get("include") == "content" else LISTED_POST_EXCERPT
    return replace(page, items=[Shaped(row, schema) for row in page.items])


def _change(caller: Caller, post_id: int, changes: Mapping[str, Any]) -> Any:
    post = service.get_post_for_change(caller, post_id)
    require_unchanged(post, POST)
    return service.update_post(post, changes)
