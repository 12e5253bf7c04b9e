"""The tables `things` and `visits`."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Owned, Timestamps, ordered_by, ordered_string


class Thing(Owned, Timestamps, Base):
    """A thing of a user. Its list can be sorted by name too, and there is no index for that."""

    __tablename__ = "things"
    __table_args__ = (*ordered_by("created_at", within=("user_id",)), IDS_ARE_USED_ONCE)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(ordered_string(200))
    remark: Mapped[str] = mapped_column(String(200))


class Visit(Base):
    """A user's visit of a list. The id of the user is no foreign key, so that rows outlive the account."""

    __tablename__ = "visits"
    __table_args__ = (IDS_ARE_USED_ONCE,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(Id)
