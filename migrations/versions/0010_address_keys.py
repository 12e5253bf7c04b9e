"""Compare email addresses in lower case instead of case-folded, and delete fingerprints of passwords.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from email_validator import EmailNotValidError, validate_email

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

USERS = sa.table("users", sa.column("id"), sa.column("email"), sa.column("email_key"))
BATCH = 1000
# The two keys of an address of ASCII characters are the same, unless its domain has A-labels that were never decoded.
OTHERS = {
    "postgresql": "(octet_length(email) <> char_length(email) OR email ILIKE '%xn--%')",
    "sqlite": "(length(CAST(email AS BLOB)) <> length(email) OR email LIKE '%xn--%')",
}


def upgrade() -> None:
    """Write new keys: "straße.de" and "strasse.de" are different domains.

    Fingerprints of requests that create users were made of bodies with passwords. A repeated request does not match
    them any more.
    """
    rewrite_keys(lower)
    op.execute("DELETE FROM idempotency_keys WHERE location LIKE '%/api/v1/users/%'")


def downgrade() -> None:
    """Write case-folded keys again."""
    rewrite_keys(fold)


def lower(address: str) -> str:
    """Return the address in lower case and NFC, its domain in U-labels (RFC 5890)."""
    # An invalid address, which the application has not written, is compared as it is.
    with suppress(EmailNotValidError):
        address = validate_email(address, check_deliverability=False).normalized
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", address).lower())


def fold(address: str) -> str:
    """Return the address case-folded and in NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", address).casefold())


def rewrite_keys(key_of: Callable[[str], str]) -> None:
    """Set the keys of all accounts. Raises CommandError, before any change, if two accounts would have the same key."""
    if op.get_context().as_sql:
        op.execute("-- Revision 0010 computes email_key of addresses with characters beyond ASCII: run it online.")
        return
    changed = find_changed_keys(key_of)
    require_distinct(changed)
    connection = op.get_bind()
    one = sa.update(USERS).where(USERS.c.id == sa.bindparam("user_id")).values(email_key=sa.bindparam("key"))
    # A new key may be the old key of another account that changes too.
    for user_id in changed:
        connection.execute(one, {"user_id": user_id, "key": f" {user_id}"})
    for user_id, (_, key) in changed.items():
        connection.execute(one, {"user_id": user_id, "key": key})


def find_changed_keys(key_of: Callable[[str], str]) -> dict[int, tuple[str, str]]:
    """Return the address and the new key, by id, of each account whose key changes."""
    connection, changed, last_id = op.get_bind(), {}, 0
    others = sa.text(OTHERS[connection.dialect.name])
    page = sa.select(USERS).where(USERS.c.id > sa.bindparam("last_id"), others).order_by(USERS.c.id).limit(BATCH)
    while rows := connection.execute(page, {"last_id": last_id}).all():
        last_id = rows[-1].id
        keys = {row.id: (row.email, key_of(row.email)) for row in rows}
        changed |= {row.id: keys[row.id] for row in rows if keys[row.id][1] != row.email_key}
    return changed


def require_distinct(changed: dict[int, tuple[str, str]]) -> None:
    """Raise CommandError with both addresses if one of the new keys belongs to two accounts."""
    connection, emails = op.get_bind(), {}
    holder = sa.select(USERS.c.id, USERS.c.email).where(USERS.c.email_key == sa.bindparam("key"))
    for email, key in changed.values():
        found = connection.execute(holder, {"key": key}).first()
        other = emails.get(key) or (found.email if found is not None and found.id not in changed else None)
        if other is not None:
            raise CommandError(
                f"two accounts would have the same email address: {other} and {email}. "
                "Nothing was changed. Delete one of them or change its address, and run this command again."
            )
        emails[key] = email
