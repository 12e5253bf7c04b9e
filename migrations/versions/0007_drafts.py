"""An author's drafts in each order, without a look at what is published.

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
    """Create the indexes, which hold the drafts alone."""
    for key in SORT_KEYS:
        op.create_index(
            op.f(f"ix_posts_author_id_status_{key}_id"),
            "posts",
            ["author_id", "status", key, "id"],
            postgresql_where=DRAFTS,
            sqlite_where=DRAFTS,
            # On a big table it may have been made by hand before, concurrently, which keeps nobody from writing.
            if_not_exists=True,
        )


def downgrade() -> None:
    """Drop the indexes."""
    for key in SORT_KEYS:
        op.drop_index(op.f(f"ix_posts_author_id_status_{key}_id"), "posts")
