"""Add indexes for the lists of an author's drafts.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SORT_KEYS = ("created_at", "updated_at", "title")
DRAFTS = sa.text("status = 'draft'")


def upgrade() -> None:
    """Create partial indexes that contain only drafts."""
    for key in SORT_KEYS:
        op.create_index(
            op.f(f"ix_posts_author_id_status_{key}_id"),
            "posts",
            ["author_id", "status", key, "id"],
            postgresql_where=DRAFTS,
            sqlite_where=DRAFTS,
            # For a large table an operator may have created it before with CONCURRENTLY, which does not block writes.
            if_not_exists=True,
        )


def downgrade() -> None:
    """Drop the indexes."""
    for key in SORT_KEYS:
        op.drop_index(op.f(f"ix_posts_author_id_status_{key}_id"), "posts")
