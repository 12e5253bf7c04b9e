"""Create the tables `trips` and `waypoints`.

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

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, with an index for each order of the list."""
    op.create_table(
        "trips",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(200).with_variant(sa.String(200, collation="C"), "postgresql"), nullable=False),
        sa.Column("destination", sa.String(200), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_trips_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trips")),
        sqlite_autoincrement=True,
    )
    for key in ("created_at", "updated_at", "name"):
        op.create_index(op.f(f"ix_trips_user_id_{key}_id"), "trips", ["user_id", key, "id"])
    op.create_table(
        "waypoints",
        sa.Column("trip_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=False),
        sa.Column("longitude", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["trip_id"], ["trips.id"], name=op.f("fk_waypoints_trip_id_trips"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trip_id", "position", name=op.f("pk_waypoints")),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("waypoints")
    op.drop_table("trips")
