"""The tables `trips` and `waypoints`."""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Owned, Timestamps, ordered_by, ordered_string

# In code points. A change needs a migration.
TEXT_LENGTH = 200
MAX_WAYPOINTS = 100
# The columns by which the list of a user's trips can be sorted; each has an index.
ORDERS = ("created_at", "updated_at", "name")


class Trip(Owned, Timestamps, Base):
    """A trip of the user `user_id`. Its waypoints are rows of their own."""

    __tablename__ = "trips"
    __table_args__ = (*ordered_by(*ORDERS, within=("user_id",)), IDS_ARE_USED_ONCE)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(ordered_string(TEXT_LENGTH))
    destination: Mapped[str] = mapped_column(String(TEXT_LENGTH))


class Waypoint(Base):
    """A place of a trip, with its position in the trip, from 0. The key is also the index by which both are read."""

    __tablename__ = "waypoints"

    trip_id: Mapped[int] = mapped_column(Id, ForeignKey("trips.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    latitude: Mapped[float] = mapped_column(Double)
    longitude: Mapped[float] = mapped_column(Double)
