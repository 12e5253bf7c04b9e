"""What of a post is taken and shown."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import (
    Choice,
    Identifier,
    Inline,
    InputSchema,
    OutputSchema,
    QueryInteger,
    QueryTimestamp,
    Text,
    Timestamp,
)
from app.api.pagination import ListQuery, sort_field
from app.posts.models import STATUSES

SORT_KEYS = ("created_at", "updated_at", "title")


class NewPost(InputSchema):
    """A whole post, for POST and PUT."""

    title = Text(1, 200, required=True, metadata={"example": "Hello"})
    content = Text(1, 50_000, multiline=True, required=True, metadata={"example": "My first post."})
    status = Choice(*STATUSES, load_default="published")


class PostChanges(InputSchema):
    """Some members of a post, for PATCH."""

    title = Text(1, 200, metadata={"example": "Hello again"})
    content = Text(1, 50_000, multiline=True, metadata={"example": "My first post, corrected."})
    status = Choice(*STATUSES)


class AuthorPostListQuery(ListQuery):
    """How to list one author's posts."""

    status = Choice(*STATUSES, metadata={"description": "'draft' lists one's own drafts."})
    created_after = QueryTimestamp(
        metadata={"description": "Only posts created after this moment.", "example": "2026-01-31T12:00:00Z"}
    )
    created_before = QueryTimestamp(
        metadata={"description": "Only posts created before this moment.", "example": "2026-02-28T12:00:00Z"}
    )
    sort = sort_field(*SORT_KEYS, default="-created_at")


class PostListQuery(AuthorPostListQuery):
    """How to list posts."""

    author_id = QueryInteger(metadata={"description": "Only posts by this user.", "example": 1})


class Author(OutputSchema):
    """Who wrote a post."""

    id = Identifier(attribute="author_id")
    name = fields.String(attribute="author_name", metadata={"example": "Alice"})


class PostView(OutputSchema):
    """A post as everyone sees it."""

    id = Identifier()
    title = fields.String(metadata={"example": "Hello"})
    content = fields.String(metadata={"example": "My first post."})
    status = Choice(*STATUSES, metadata={"example": "published"})
    published_at = Timestamp(allow_none=True, metadata={"description": "null for a draft."})
    created_at = Timestamp()
    updated_at = Timestamp()
    author = Inline(Author)


POST: Schema = PostView()
