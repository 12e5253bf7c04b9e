"""The rules of posts: who may read and change which, and what a change sets. Never commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

from sqlalchemy import and_, bindparam, insert, literal_column, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import AuthenticationRequired, Forbidden, NotFound, TokenRevoked
from app.api.fields import format_timestamp
from app.api.pagination import Filter, Filters, Page, paginate, time_filters
from app.clock import utc_now
from app.database import db, fetch_all, fetch_one, precompiled, violates, write_one
from app.posts.models import Post
from app.users.models import User
from app.users.service import get_user, may_act_for

# A post and its author's name in one row of one query. The posts of an author whose deletion has begun are hidden.
_POSTS = select(*Post.__table__.columns, User.name.label("author_name")).join(
    User, and_(User.id == Post.author_id, User.deleted_at.is_(None))
)
_POST = precompiled(_POSTS.where(Post.id == bindparam("post_id")))
_NEW_POST = precompiled(insert(Post).returning(Post.id))
FILTERS: Filters = {
    "author_id": Filter(Post.author_id == bindparam("author_id")),
    # With a literal status, because the partial indexes of drafts require it (app/posts/models.py).
    "drafts_of": Filter(and_(Post.author_id == bindparam("drafts_of"), Post.status == literal_column("'draft'"))),
    "status": Filter(Post.status == bindparam("status")),
    **time_filters("created_at", Post.created_at),
}
_paginate_posts = partial(
    paginate,
    _POSTS,
    keys={"created_at": Post.created_at, "updated_at": Post.updated_at, "title": Post.title},
    id_column=Post.id,
    filters=FILTERS,
)
EXPORT_BATCH = 100


def get_post(caller: Caller | None, post_id: int) -> Any:
    """Return a post with its author's name. Raises NotFound, also for a draft of another user."""
    row = fetch_one(_POST, post_id=post_id)
    if row is None or not (row.status == "published" or may_act_for(caller, row.author_id)):
        raise NotFound
    return row


def list_posts(caller: Caller | None, query: Mapping[str, Any]) -> Page:
    """Return a page of published posts or, with status=draft, of the caller's own drafts.

    Raises AuthenticationRequired for drafts without a caller.
    """
    if query.get("status", "published") == "published":
        return _paginate_posts(query, status="published")
    if caller is None:
        raise AuthenticationRequired
    return _paginate_posts(query, drafts_of=caller.id)


def list_posts_of(caller: Caller | None, author_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of one author's published posts; for the author, of drafts too.

    Raises NotFound if there is no such user, and AuthenticationRequired or Forbidden for another user's drafts.
    """
    get_user(author_id)
    is_author = caller is not None and caller.id == author_id
    if query.get("status") == "draft":
        if not is_author:
            raise AuthenticationRequired if caller is None else Forbidden
        return _paginate_posts(query, author_id=author_id, drafts_of=author_id)
    if is_author:
        return _paginate_posts(query, author_id=author_id)
    return _paginate_posts(query, author_id=author_id, status="published")


def create_post(author: Caller, title: str, content: str, status: str) -> Any:
    """Insert a post in one statement; return it with the attributes that a row of `get_post` has.

    Raises TokenRevoked if the author was deleted after the request was authorized.
    """
    now = utc_now()
    values = {
        "author_id": author.id,
        "title": title,
        "content": content,
        "status": status,
        "published_at": now if status == "published" else None,
        "created_at": now,
        "updated_at": now,
    }
    try:
        row = write_one(_NEW_POST, **values)
    except IntegrityError as error:
        if violates(error, "fk_posts_author_id_users"):
            raise TokenRevoked from error
        raise
    # Not a Post: SQLAlchemy takes 30 µs to make an instance, a twentieth of the whole request.
    return SimpleNamespace(id=row.id, author_name=author.name, **values)


def get_post_for_change(caller: Caller, post_id: int) -> Post:
    """Lock and return a post that `caller` may change or delete.

    Raises NotFound, also for a draft of another user, and Forbidden for a published post of another user.
    """
    # populate_existing: reads the row again under the lock.
    post = db.session.get(Post, post_id, with_for_update=True, populate_existing=True)
    if post is None:
        raise NotFound
    post.author_name = caller.name if caller.id == post.author_id else get_user(post.author_id).name
    if not may_act_for(caller, post.author_id):
        raise Forbidden if post.status == "published" else NotFound
    return post


def update_post(post: Post, changes: Mapping[str, Any]) -> Post:
    """Set the given members of a locked post. A draft that becomes published gets a new `published_at`."""
    changed = {name: value for name, value in changes.items() if getattr(post, name) != value}
    for name, value in changed.items():
        setattr(post, name, value)
    if changed:
        post.updated_at = utc_now()
    if "status" in changed:
        post.published_at = post.updated_at if post.status == "published" else None
    db.session.flush()
    return post


def delete_post(post: Post) -> None:
    """Delete a locked post."""
    db.session.delete(post)
    db.session.flush()


def export(user_id: int) -> Iterator[dict[str, Any]]:
    """Yield the posts of a user for the export, read in batches by id, so that each statement is short."""
    columns = [c for c in Post.__table__.columns if c.name != "author_id"]
    statement = select(*columns).where(Post.author_id == user_id).order_by(Post.id).limit(EXPORT_BATCH)
    last_id = 0
    while rows := fetch_all(statement.where(Post.id > last_id)):
        last_id = rows[-1].id
        for row in rows:
            yield {k: format_timestamp(v) if isinstance(v, datetime) else v for k, v in row._mapping.items()}
