"""Create the service_context table: the maintenance mode.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the service_context table, which has at most one row."""
    op.create_table(
        "service_context",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("maintenance", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("message", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("retry_after", sa.Integer(), server_default=sa.text("300"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_service_context_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_context")),
    )


def downgrade() -> None:
    """Drop the service_context table. Maintenance mode is off then."""
    op.drop_table("service_context")
