"""Create the table items.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "items",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"), nullable=False),
        sa.Column("val", sa.JSON(), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_items_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_items")),
        sa.UniqueConstraint("user_id", "key", name=op.f("uq_items_user_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_items_user_id_key_id"), "items", ["user_id", "key", "id"])
    op.create_index(op.f("ix_items_user_id_created_at_id"), "items", ["user_id", "created_at", "id"])
    op.create_index(op.f("ix_items_user_id_updated_at_id"), "items", ["user_id", "updated_at", "id"])


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("items")
