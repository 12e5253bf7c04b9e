"""Create the posts table, with an index for each sort order of a list.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
SORT_KEYS = ("created_at", "updated_at", "title")


def upgrade() -> None:
    """Create the posts table."""
    op.create_table(
        "posts",
        sa.Column("id", ID, nullable=False),
        sa.Column("author_id", ID, nullable=False),
        sa.Column("title", sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("published_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint("status IN ('draft', 'published')", name=op.f("ck_posts_status")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_posts_author_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
        sqlite_autoincrement=True,
    )
    for first in ("status", "author_id"):
        for key in SORT_KEYS:
            op.create_index(op.f(f"ix_posts_{first}_{key}_id"), "posts", [first, key, "id"])


def downgrade() -> None:
    """Drop the posts table, with its indexes."""
    op.drop_table("posts")
