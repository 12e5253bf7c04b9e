"""The rules of posts. Writes the posts table; never commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, insert, literal_column, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import AuthenticationRequired, Forbidden, NotFound, TokenRevoked
from app.api.fields import format_timestamp
from app.api.pagination import Page, paginate
from app.clock import utc_now
from app.database import db, fetch_all, fetch_one, violates, write_one
from app.database.executor import precompiled
from app.posts.models import Post
from app.users.models import User
from app.users.service import get_user

KEYS = {"created_at": Post.created_at, "updated_at": Post.updated_at, "title": Post.title}
# A post with its author's name is one row of one query; nothing is loaded lazily.
_POSTS = select(
    Post.id,
    Post.title,
    Post.content,
    Post.status,
    Post.published_at,
    Post.created_at,
    Post.updated_at,
    Post.author_id,
    User.name.label("author_name"),
).join(User, User.id == Post.author_id)
_POST = precompiled(_POSTS.where(Post.id == bindparam("post_id")))
_NEW_POST = precompiled(
    insert(Post)
    .values({column: bindparam(f"new_{column.key}") for column in Post.__table__.columns if column.key != "id"})
    .returning(Post.id)
)
# What a list may be narrowed by, and what a row must then be; each value is the parameter of that name.
FILTERS = {
    "author_id": Post.author_id == bindparam("author_id"),
    # Named literally, for the indexes that hold drafts alone.
    "drafts_of": and_(Post.author_id == bindparam("drafts_of"), Post.status == literal_column("'draft'")),
    "status": Post.status == bindparam("status"),
    "created_after": Post.created_at > bindparam("created_after"),
    "created_before": Post.created_at < bindparam("created_before"),
}
EXPORT_BATCH = 100


@dataclass(frozen=True, slots=True)
class WrittenPost:
    """A post as it was just written, with the columns that a read of it has."""

    id: int
    title: str
    content: str
    status: str
    published_at: datetime | None
    created_at: datetime
    updated_at: datetime
    author_id: int
    author_name: str


def may_change(caller: Caller | None, author_id: int) -> bool:
    """The one place that says who owns a post: its author and administrators change it, and see it as a draft."""
    return caller is not None and caller.may_act_for(author_id)


def get_post(caller: Caller | None, post_id: int) -> Any:
    """Return a post with its author's name. Raises NotFound, also for a draft this caller may not know of."""
    row = fetch_one(_POST, post_id=post_id)
    if row is None or not (row.status == "published" or may_change(caller, row.author_id)):
        raise NotFound
    return row


def list_posts(caller: Caller | None, query: Mapping[str, Any]) -> Page:
    """Return a page of published posts, or of the caller's own drafts.

    Raises AuthenticationRequired when nobody asks for their drafts.
    """
    filters = {name: query[name] for name in FILTERS if name in query}
    filters["status"] = query.get("status", "published")
    if filters["status"] == "draft":
        if caller is None:
            raise AuthenticationRequired
        filters["drafts_of"] = caller.id
    return _list(query, filters)


def list_posts_of(caller: Caller | None, author_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of one author's posts, drafts too for the author. Raises NotFound when there is no such user."""
    get_user(author_id)
    filters = {name: query[name] for name in FILTERS if name in query} | {"author_id": author_id}
    is_author = caller is not None and caller.id == author_id
    status = query.get("status", None if is_author else "published")
    if status == "draft" and not is_author:
        raise AuthenticationRequired if caller is None else Forbidden
    if status is not None:
        filters["status"] = status
    if status == "draft":
        filters["drafts_of"] = author_id
    return _list(query, filters)


def _list(query: Mapping[str, Any], filters: Mapping[str, Any]) -> Page:
    return paginate(_filtered_by(frozenset(filters)), query, keys=KEYS, id_column=Post.id, **filters)


@cache
def _filtered_by(names: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """Return the posts that the filters of these names let through, one statement for each set of names."""
    return _POSTS.where(*(FILTERS[name] for name in sorted(names)))


def create_post(author: Caller, title: str, content: str, status: str) -> WrittenPost:
    """Add a post. Raises TokenRevoked when its author was deleted since the request was let in."""
    now = utc_now()
    published_at = now if status == "published" else None
    try:
        row = write_one(
            _NEW_POST,
            new_author_id=author.id,
            new_title=title,
            new_content=content,
            new_status=status,
            new_published_at=published_at,
            new_created_at=now,
            new_updated_at=now,
        )
    except IntegrityError as error:
        if violates(error, "fk_posts_author_id_users"):
            raise TokenRevoked from error
        raise
    return WrittenPost(row.id, title, content, status, published_at, now, now, author.id, author.name)


def get_post_for_change(caller: Caller, post_id: int) -> Post:
    """Lock a post that `caller` is about to change or delete.

    Raises NotFound, also for another's draft, and Forbidden for another's published post.
    """
    post = db.session.get(Post, post_id, with_for_update=True, populate_existing=True)
    if post is None:
        raise NotFound
    if not may_change(caller, post.author_id):
        raise Forbidden if post.status == "published" else NotFound
    return post


def update_post(caller: Caller, post: Post, changes: Mapping[str, Any]) -> WrittenPost:
    """Set the members given, of a locked post. It is published anew each time it stops being a draft."""
    changed = {name: value for name, value in changes.items() if getattr(post, name) != value}
    for name, value in changed.items():
        setattr(post, name, value)
    if changed:
        post.updated_at = utc_now()
    if "status" in changed:
        post.published_at = post.updated_at if post.status == "published" else None
    db.session.flush()
    return as_read(caller, post)


def delete_post(post: Post) -> None:
    """Delete a locked post."""
    db.session.delete(post)
    db.session.flush()


def as_read(caller: Caller, post: Post) -> WrittenPost:
    """Return a locked post as a read of it by `caller` would show it."""
    if caller.id == post.author_id:
        return _written(post, caller.name)
    row = fetch_one(select(User.name).where(User.id == post.author_id))
    return _written(post, row.name if row else "")


def _written(post: Post, author_name: str) -> WrittenPost:
    return WrittenPost(
        post.id,
        post.title,
        post.content,
        post.status,
        post.published_at,
        post.created_at,
        post.updated_at,
        post.author_id,
        author_name,
    )


def export(user_id: int) -> Iterator[dict[str, Any]]:
    """Give everything a user wrote, read in batches by id so that no single statement runs long."""
    columns = [c for c in Post.__table__.columns if c.name != "author_id"]
    statement = select(*columns).where(Post.author_id == user_id).order_by(Post.id).limit(EXPORT_BATCH)
    last_id = 0
    while rows := fetch_all(statement.where(Post.id > last_id)):
        last_id = rows[-1].id
        for row in rows:
            yield {k: format_timestamp(v) if isinstance(v, datetime) else v for k, v in row._mapping.items()}
