"""Create the tables `courses` and `enrolments`.

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


def ordered_string(length: int) -> sa.types.TypeEngine[str]:
    """Return the type of a text that is sorted by code points."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, with an index for each order of their lists."""
    op.create_table(
        "courses",
        sa.Column("id", ID, nullable=False),
        sa.Column("code", ordered_string(20), nullable=False),
        sa.Column("name", ordered_string(100), nullable=False),
        sa.Column("instructor", sa.String(100), nullable=False),
        sa.Column("credits", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_courses")),
        sa.UniqueConstraint("code", name=op.f("uq_courses_code")),
        sqlite_autoincrement=True,
    )
    for key in ("code", "name", "created_at", "updated_at"):
        op.create_index(op.f(f"ix_courses_{key}_id"), "courses", [key, "id"])
    op.create_table(
        "enrolments",
        sa.Column("id", ID, nullable=False),
        sa.Column("course_id", ID, nullable=False),
        sa.Column("enrolled_at", TIME, nullable=False),
        sa.Column("grade", sa.String(2), nullable=True),
        sa.Column("user_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["course_id"], ["courses.id"], name=op.f("fk_enrolments_course_id_courses"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_enrolments_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("user_id", "course_id", name=op.f("uq_enrolments_user_id_course_id")),
        sqlite_autoincrement=True,
    )
    for first in ("course_id", "user_id"):
        op.create_index(op.f(f"ix_enrolments_{first}_enrolled_at_id"), "enrolments", [first, "enrolled_at", "id"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("enrolments")
    op.drop_table("courses")
