"""The table `items`."""

from __future__ import annotations

from sqlalchemy import JSON, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Owned, Timestamps, ordered_by, ordered_string

# In code points. A change needs a migration.
KEY_LENGTH = 200
# The columns by which the list of a user's items can be sorted; each has an index.
ORDERS = ("key", "created_at", "updated_at")


class Item(Owned, Timestamps, Base):
    """A value of the user `user_id` under a key: a text or a whole number, which JSON distinguishes."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("user_id", "key"),
        *ordered_by(*ORDERS, within=("user_id",)),
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    key: Mapped[str] = mapped_column(ordered_string(KEY_LENGTH))
    val: Mapped[str | int] = mapped_column(JSON)
