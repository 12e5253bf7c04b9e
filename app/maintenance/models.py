"""The service_context table: one row with the maintenance state."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, Integer, SmallInteger, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, UtcDateTime

DEFAULT_RETRY_AFTER_SECONDS = 300


class ServiceContext(Base):
    """The maintenance state. The table has at most one row."""

    __tablename__ = "service_context"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    maintenance: Mapped[bool] = mapped_column(Boolean, server_default=false())
    message: Mapped[str] = mapped_column(Text, server_default=text("''"))
    retry_after: Mapped[int] = mapped_column(Integer, server_default=text(str(DEFAULT_RETRY_AFTER_SECONDS)))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
