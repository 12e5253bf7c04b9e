"""The rules of posts: who may read and change which, and what a change sets. Never commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import AuthenticationRequired, Forbidden, NotFound, TokenRevoked
from app.api.pagination import Filter, Filters, Page, SortKey, paginate, time_filters
from app.components import utc_now
from app.database import db, fetch_all, fetch_one, precompiled, violates, write_one
from app.posts.models import EXCERPT_LENGTH, ORDERS, Post
from app.users.models import User, is_not_being_deleted
from app.users.service import get_user, may_act_for

# A post and its author's name in one row of one query. The posts of an author whose deletion has begun are hidden.
_POSTS = select(*Post.__table__.columns, User.name.label("author_name")).join(
    User, and_(User.id == Post.author_id, User.deleted_at.is_(None))
)
_POST = precompiled(_POSTS.where(Post.id == bindparam("post_id")))
_NEW_POST = precompiled(insert(Post).returning(Post.id))
# In lists the beginning of the content, cut by the database, or the whole content too.
_EXCERPT = func.substr(Post.content, 1, EXCERPT_LENGTH).label("excerpt")
_LISTED = select(*(c for c in Post.__table__.columns if c.name != "content"), _EXCERPT, User.name.label("author_name"))
# Not a condition of the join, because a list is counted without it.
_IS_VISIBLE = is_not_being_deleted(Post.author_id)
_EXCERPTS = _LISTED.join(User, User.id == Post.author_id).where(_IS_VISIBLE)
_CONTENTS = _EXCERPTS.add_columns(Post.content)
KEYS: Mapping[str, SortKey] = {key: getattr(Post, key) for key in ORDERS}
FILTERS: Filters = {
    "author_id": Filter(Post.author_id == bindparam("author_id")),
    "drafts_of": Filter(and_(Post.author_id == bindparam("drafts_of"), Post.status == "draft")),
    "status": Filter(Post.status == bindparam("status")),
    **time_filters("created_at", Post.created_at),
    **time_filters("published_at", Post.published_at),
    **time_filters("updated_at", Post.updated_at),
}
# Drafts have no `published_at`: sorted by it they are in the order of their creation, and no index finds any by it.
DRAFT_KEYS: Mapping[str, SortKey] = {**KEYS, "published_at": Post.created_at}
DRAFT_FILTERS: Filters = {name: replace(f, sort="") if f.sort == "published_at" else f for name, f in FILTERS.items()}
_paginate_posts = partial(paginate, id_column=Post.id, keys=KEYS, filters=FILTERS)
_paginate_drafts = partial(paginate, id_column=Post.id, keys=DRAFT_KEYS, filters=DRAFT_FILTERS)


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
    if query.get("status") != "draft":
        return _paginate_posts(_list(query), query, default_sort="-published_at", status="published")
    if caller is None:
        raise AuthenticationRequired
    return _paginate_drafts(_list(query), query, default_sort="-updated_at", drafts_of=caller.id)


def list_posts_of(caller: Caller | None, author_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of one author's published posts; for the author, of drafts too.

    Raises NotFound if there is no such user, and AuthenticationRequired or Forbidden for another user's drafts.
    """
    get_user(author_id)
    is_author = caller is not None and caller.id == author_id
    if query.get("status") == "draft":
        if caller is None or not is_author:
            raise AuthenticationRequired if caller is None else Forbidden
        return _paginate_drafts(_list(query), query, default_sort="-updated_at", drafts_of=author_id)
    if is_author and "status" not in query and not _requires_publication(query):
        return _paginate_posts(_list(query), query, default_sort="-updated_at", author_id=author_id)
    return _paginate_posts(_list(query), query, default_sort="-published_at", author_id=author_id, status="published")


def _list(query: Mapping[str, Any]) -> Select[*tuple[Any, ...]]:
    return _CONTENTS if query.get("include") == "content" else _EXCERPTS


def _requires_publication(query: Mapping[str, Any]) -> bool:
    """Return whether the order or a filter is about `published_at`, which drafts do not have."""
    is_filtered = "published_after" in query or "published_before" in query
    return is_filtered or query.get("sort", "").endswith("published_at")


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
        yield from (row._asdict() for row in rows)
