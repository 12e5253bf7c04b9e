"""Create the tables things and visits.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.database import Id, UtcDateTime, ordered_string

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "things",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("name", ordered_string(200), nullable=False),
        sa.Column("remark", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_things_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_things")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_things_user_id_created_at_id"), "things", ["user_id", "created_at", "id"])
    op.create_table(
        "visits",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visits")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Forgotten."""
