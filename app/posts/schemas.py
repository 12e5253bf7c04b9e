"""The request and response schemas of posts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from app.api.fields import (
    OPTIONAL,
    Choice,
    DateTime,
    Identifier,
    Inline,
    InputSchema,
    OutputSchema,
    QueryInteger,
    Text,
    Timestamp,
    Title,
    changes_of,
)
from app.api.pagination import ListQuery, sort_field
from app.posts.models import EXCERPT_LENGTH, ORDERS, STATUSES, TITLE_LENGTH

# A page of a hundred whole contents can have 20 MB.
MAX_WITH_CONTENT = 20


class NewPost(InputSchema):
    """A complete post, for POST and PUT."""

    title = Title(1, TITLE_LENGTH, required=True, metadata={"example": "Hello"})
    content = Text(1, 50_000, multiline=True, required=True, metadata={"example": "My first post."})
    status = Choice(*STATUSES, load_default="published")


PostChanges = changes_of(NewPost)


def _time(relation: str, verb: str, example: str) -> DateTime:
    return DateTime(metadata={"description": f"Only posts {verb} {relation} this time.", "example": example})


_after = partial(_time, "after", example="2026-01-31T12:00:00Z")
_before = partial(_time, "before", example="2026-02-28T12:00:00Z")


class AuthorPostListQuery(ListQuery):
    """The query parameters of the list of one author's posts."""

    status = Choice(*STATUSES, metadata={"description": "'draft' lists your own drafts."})
    created_after = _after("created")
    created_before = _before("created")
    published_after = _after("published")
    published_before = _before("published")
    updated_after = _after("last changed")
    updated_before = _before("last changed")
    include = Choice(
        "content",
        metadata={"description": f"'content' adds the whole contents; `limit` is then at most {MAX_WITH_CONTENT}."},
    )
    # Its default depends on which posts are listed.
    sort = sort_field(
        *ORDERS,
        description="Sort key; '-' in front for descending. By default '-published_at', for lists with drafts "
        "'-updated_at'. Sorted by `published_at`, a list of all your posts has the published ones only; a list of "
        "drafts, which have none, is in the order of their creation.",
    )

    @validates_schema
    def _limit_contents(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if "include" in data and data["limit"] > MAX_WITH_CONTENT:
            raise ValidationError(f"Must be 1 to {MAX_WITH_CONTENT} with include=content.", "limit")


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
    published_at = Timestamp(
        allow_none=True, metadata={"description": "The time of the latest publication, null for a draft."}
    )
    created_at = Timestamp()
    updated_at = Timestamp()
    author = Inline(Author)


class ListedPost(PostView):
    """A post in a list, with the beginning of its content."""

    class Meta:
        fields = ("id", "title", "excerpt", "content", "status", "published_at", "created_at", "updated_at", "author")

    excerpt = fields.String(
        metadata={
            "description": f"The first {EXCERPT_LENGTH} code points of the content.",
            "maxLength": EXCERPT_LENGTH,
            "example": "My first post.",
        }
    )
    content = fields.String(
        metadata={OPTIONAL: True, "description": "Present with `include=content`.", "example": "My first post."}
    )


POST: Schema = PostView()
LISTED_POST: Schema = ListedPost()
LISTED_POST_EXCERPT: Schema = ListedPost(exclude=("content",))
