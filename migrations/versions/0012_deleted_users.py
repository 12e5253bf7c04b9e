"""Add users.deleted_at, which hides an account while its rows are deleted in batches.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DELETED = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    """Add the column, and an index that contains only the accounts that are being deleted."""
    op.add_column("users", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        op.f("ix_users_deleted_at"), "users", ["deleted_at"], postgresql_where=DELETED, sqlite_where=DELETED
    )


def downgrade() -> None:
    """Delete the rest of deleted accounts, which would be visible without the column, and drop the column."""
    op.execute("DELETE FROM users WHERE deleted_at IS NOT NULL")
    op.drop_index(op.f("ix_users_deleted_at"), "users")
    op.drop_column("users", "deleted_at")
