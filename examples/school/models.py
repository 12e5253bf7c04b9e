"""The tables `courses` and `enrolments`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Owned, Timestamps, UtcDateTime, ordered_by, ordered_string

# In characters. A change needs a migration.
CODE_LENGTH, NAME_LENGTH, GRADE_LENGTH = 20, 100, 2
MAX_CREDITS, MAX_CAPACITY = 10, 10_000
# The columns by which the lists of courses and of enrolments can be sorted.
COURSE_ORDERS = ("code", "name", "created_at", "updated_at")
ENROLMENT_ORDERS = ("enrolled_at",)


class Course(Timestamps, Base):
    """A course. It belongs to no user: administrators write it, and everyone reads it."""

    __tablename__ = "courses"
    # The service recognises a violated constraint by its name, here uq_courses_code.
    __table_args__ = (UniqueConstraint("code"), *ordered_by(*COURSE_ORDERS), IDS_ARE_USED_ONCE)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(ordered_string(CODE_LENGTH))
    name: Mapped[str] = mapped_column(ordered_string(NAME_LENGTH))
    instructor: Mapped[str] = mapped_column(String(NAME_LENGTH))
    credits: Mapped[int] = mapped_column(Integer)
    capacity: Mapped[int] = mapped_column(Integer)


class Enrolment(Owned, Base):
    """The enrolment of the user `user_id` in a course. It is deleted with either of them."""

    __tablename__ = "enrolments"
    __table_args__ = (
        UniqueConstraint("user_id", "course_id"),
        *ordered_by(*ENROLMENT_ORDERS, within=("course_id",)),
        *ordered_by(*ENROLMENT_ORDERS, within=("user_id",)),
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    course_id: Mapped[int] = mapped_column(Id, ForeignKey("courses.id", ondelete="CASCADE"))
    enrolled_at: Mapped[datetime] = mapped_column(UtcDateTime)
    grade: Mapped[str | None] = mapped_column(String(GRADE_LENGTH))
