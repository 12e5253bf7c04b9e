"""Add the indexes for lists of posts by `published_at`, and for an author's published posts.

Revision ID: 0011
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0012"
branch_labels = None
depends_on = None

SORT_KEYS = ("created_at", "updated_at", "title")
DRAFTS = sa.text("status = 'draft'")


def upgrade() -> None:
    """Replace the indexes of an author's drafts by those of an author's posts of either status, and add the new ones.

    For a large table an operator may have created the new ones before with CONCURRENTLY, which does not block writes.
    """
    for first in (["status"], ["author_id", "status"]):
        name = f"ix_posts_{'_'.join(first)}_published_at_id"
        op.create_index(op.f(name), "posts", [*first, "published_at", "id"], if_not_exists=True)
    for key in SORT_KEYS:
        op.drop_index(op.f(f"ix_posts_author_id_status_{key}_id"), "posts")
        op.create_index(op.f(f"ix_posts_author_id_status_{key}_id"), "posts", ["author_id", "status", key, "id"])


def downgrade() -> None:
    """Drop the new indexes, and restore those of drafts."""
    for key in SORT_KEYS:
        op.drop_index(op.f(f"ix_posts_author_id_status_{key}_id"), "posts")
        op.create_index(
            op.f(f"ix_posts_author_id_status_{key}_id"),
            "posts",
            ["author_id", "status", key, "id"],
            postgresql_where=DRAFTS,
            sqlite_where=DRAFTS,
        )
    for first in ("status", "author_id_status"):
        op.drop_index(op.f(f"ix_posts_{first}_published_at_id"), "posts")
