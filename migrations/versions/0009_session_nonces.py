"""Bind tokens to their session's row, and date replaced refresh tokens one by one.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Sessions from before cannot be used any more: their users log in again."""
    # Each has a default, because replicas of the previous version insert sessions until they are replaced.
    for column in (
        # No token has an empty nonce, so no token fits the sessions of the previous version, whose tokens have none.
        sa.Column("nonce", sa.String(16), server_default=sa.text("''"), nullable=False),
        sa.Column("confirmed_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("grace_floor", sa.Integer(), server_default="1", nullable=False),
        sa.Column("grace_floor_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("grace_times", sa.String(512), server_default=sa.text("''"), nullable=False),
    ):
        op.add_column("sessions", column)


def downgrade() -> None:
    """Drop the columns. The sessions stay usable: the previous version ignores what it does not know in a token."""
    for name in ("grace_times", "grace_floor_at", "grace_floor", "confirmed_generation", "nonce"):
        op.drop_column("sessions", name)
