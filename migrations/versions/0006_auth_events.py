"""Create the auth_events table: the audit log.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The trigger prevents mistakes; the owner of the table can drop it. A later migration that copies the table on SQLite
# (batch mode) must create the trigger again. DELETE is allowed, because old events are pruned.
REFUSE_ON_SQLITE = """
CREATE TRIGGER auth_events_append_only BEFORE UPDATE ON auth_events
BEGIN
    SELECT RAISE(ABORT, 'auth_events is append-only');
END
"""
REFUSE_FUNCTION = """
CREATE FUNCTION auth_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'auth_events is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""
REFUSE_ON_POSTGRESQL = """
CREATE TRIGGER auth_events_append_only BEFORE UPDATE ON auth_events
FOR EACH STATEMENT EXECUTE FUNCTION auth_events_append_only()
"""


def upgrade() -> None:
    """Create the auth_events table, which accepts new rows and no changes."""
    op.create_table(
        "auth_events",
        sa.Column("id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("email_hash", sa.String(32), nullable=True),
        sa.Column("actor", sa.String(16), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
        sa.Column("session_id", ID, nullable=True),
        sa.Column("detail", sa.String(32), nullable=True),
        sa.Column("ip", sa.String(45), nullable=True),
        sa.Column("user_agent", sa.String(255), nullable=True),
        sa.Column("request_id", sa.String(128), nullable=True),
        sa.CheckConstraint(
            "actor IN ('self', 'administrator', 'operator', 'anonymous')", name=op.f("ck_auth_events_actor")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_events")),
        sqlite_autoincrement=True,
    )
    for first in ("user_id", "actor_id", "event"):
        op.create_index(op.f(f"ix_auth_events_{first}_created_at_id"), "auth_events", [first, "created_at", "id"])
    op.create_index(op.f("ix_auth_events_created_at_id"), "auth_events", ["created_at", "id"])
    if op.get_context().dialect.name == "sqlite":
        op.execute(REFUSE_ON_SQLITE)
    else:
        op.execute(REFUSE_FUNCTION)
        op.execute(REFUSE_ON_POSTGRESQL)


def downgrade() -> None:
    """Drop the auth_events table, with its trigger. This deletes the history."""
    op.drop_table("auth_events")
    if op.get_context().dialect.name != "sqlite":
        op.execute("DROP FUNCTION auth_events_append_only()")
