"""The request and response schemas of posts."""

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
    Title,
)
from app.api.pagination import ListQuery, sort_field
from app.posts.models import STATUSES, TITLE_LENGTH


class NewPost(InputSchema):
    """A complete post, for POST and PUT."""

    title = Title(1, TITLE_LENGTH, required=True, metadata={"example": "Hello"})
    content = Text(1, 50_000, multiline=True, required=True, metadata={"example": "My first post."})
    status = Choice(*STATUSES, load_default="published")


class PostChanges(InputSchema):
    """The members of a post to change, for PATCH."""

    title = Title(1, TITLE_LENGTH, metadata={"example": "Hello again"})
    content = Text(1, 50_000, multiline=True, metadata={"example": "My first post, corrected."})
    status = Choice(*STATUSES)


class AuthorPostListQuery(ListQuery):
    """The query parameters of the list of one author's posts."""

    status = Choice(*STATUSES, metadata={"description": "'draft' lists your own drafts."})
    created_after = QueryTimestamp(
        metadata={"description": "Only posts created after this time.", "example": "2026-01-31T12:00:00Z"}
    )
    created_before = QueryTimestamp(
        metadata={"description": "Only posts created before this time.", "example": "2026-02-28T12:00:00Z"}
    )
    sort = sort_field("created_at", "updated_at", "title", default="-created_at")


class PostListQuery(AuthorPostListQuery):
    """The query parameters of the list of posts."""

    author_id = QueryInteger(metadata={"description": "Only posts by this user.", "example": 1})


class Author(OutputSchema):
    """The author of a post."""

    id = Identifier(attribute="author_id")
    name = fields.String(attribute="author_name", metadata={"example": "Alice"})


class PostView(OutputSchema):
    """A post with its author."""

    id = Identifier()
    title = fields.String(metadata={"example": "Hello"})
    content = fields.String(metadata={"example": "My first post."})
    status = Choice(*STATUSES, metadata={"example": "published"})
    published_at = Timestamp(allow_none=True, metadata={"description": "null for a draft."})
    created_at = Timestamp()
    updated_at = Timestamp()
    author = Inline(Author)


POST: Schema = PostView()
