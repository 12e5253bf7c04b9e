"""The rules and the SQL of courses and enrolments. A transaction that begins here is committed by the endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.conditional import require_unchanged
from app.api.errors import Conflict, Forbidden, NotFound, TokenRevoked
from app.api.pagination import Filter, Page, paginate
from app.components import utc_now
from app.database import fetch_all, fetch_one, precompiled, violates, write
from app.users.models import User, is_not_being_deleted
from app.users.service import get_user, may_act_for
from examples.school.models import COURSE_ORDERS, ENROLMENT_ORDERS, Course, Enrolment
from examples.school.problems import AlreadyEnrolled, CodeTaken, CourseFull
from examples.school.schemas import COURSE, ENROLMENT

# Enrolments are counted, along an index, instead of kept as a number in the course: when a user is deleted, the foreign
# key deletes the enrolments, and nothing would correct the number.
_ENROLLED = select(func.count()).where(Enrolment.course_id == Course.id).correlate(Course).scalar_subquery()
_COURSES = select(*Course.__table__.columns, _ENROLLED.label("enrolled"))
_COURSE = precompiled(_COURSES.where(Course.id == bindparam("course_id")))
_LOCK_COURSE = precompiled(select(Course.capacity).where(Course.id == bindparam("course_id")).with_for_update())
_paginate_courses = partial(
    paginate, _COURSES, keys={key: getattr(Course, key) for key in COURSE_ORDERS}, id_column=Course.id
)
_ENROLMENTS = (
    select(
        *Enrolment.__table__.columns,
        Course.code.label("course_code"),
        Course.name.label("course_name"),
        User.name.label("user_name"),
    )
    .join(Course, Course.id == Enrolment.course_id)
    .join(User, User.id == Enrolment.user_id)
    .where(is_not_being_deleted(Enrolment.user_id))
)
_ENROLMENT = precompiled(_ENROLMENTS.where(Enrolment.id == bindparam("enrolment_id")))
_LOCK_ENROLMENT = precompiled(select(Enrolment.id).where(Enrolment.id == bindparam("enrolment_id")).with_for_update())
_STATE = precompiled(
    select(
        func.count().label("enrolled"),
        func.count().filter(Enrolment.user_id == bindparam("user_id")).label("own"),
    ).where(Enrolment.course_id == bindparam("course_id"))
)
_NEW_ENROLMENT = precompiled(insert(Enrolment).returning(Enrolment.id))
_paginate_enrolments = partial(
    paginate,
    _ENROLMENTS,
    keys={key: getattr(Enrolment, key) for key in ENROLMENT_ORDERS},
    id_column=Enrolment.id,
    filters={
        "course_id": Filter(Enrolment.course_id == bindparam("course_id")),
        "user_id": Filter(Enrolment.user_id == bindparam("user_id")),
    },
)


def list_courses(query: Mapping[str, Any]) -> Page:
    """Return a page of the courses."""
    return _paginate_courses(query)


def get_course(course_id: int) -> Any:
    """Return a course with the number of its enrolments. Raises NotFound."""
    row = fetch_one(_COURSE, course_id=course_id)
    if row is None:
        raise NotFound
    return row


def create_course(values: Mapping[str, Any]) -> Any:
    """Insert a course and return it. Raises CodeTaken."""
    now = utc_now()
    return get_course(_write_course(insert(Course).values(**values, created_at=now, updated_at=now)))


def update_course(course_id: int, values: Mapping[str, Any]) -> Any:
    """Set the given members of a course and return it.

    Raises NotFound, PreconditionFailed, CodeTaken, and Conflict for a capacity below the number of enrolments.
    """
    course = _lock_course(course_id)
    changes = {name: value for name, value in values.items() if getattr(course, name) != value}
    if changes.get("capacity", course.enrolled) < course.enrolled:
        raise Conflict(f"The course has {course.enrolled} enrolments: its capacity cannot be lower.")
    if changes:
        _write_course(update(Course).where(Course.id == course_id).values(**changes, updated_at=utc_now()))
    return get_course(course_id)


def delete_course(course_id: int) -> None:
    """Delete a course with its enrolments. Raises NotFound and PreconditionFailed."""
    _lock_course(course_id)
    write(delete(Course).where(Course.id == course_id))


def _lock_course(course_id: int) -> Any:
    """Lock a course until the transaction ends, so that neither it nor the number of its enrolments changes.

    Raises NotFound, and PreconditionFailed for a stale tag.
    """
    write(_LOCK_COURSE, course_id=course_id)
    # A second statement: PostgreSQL would count in the state from before the wait for the lock.
    course = get_course(course_id)
    require_unchanged(course, COURSE)
    return course


def _write_course(statement: Any) -> int:
    """Insert or update a course and return its id. Raises CodeTaken.

    The constraint decides whether a code is free: a question before could be answered for two requests at once.
    """
    try:
        [row] = write(statement.returning(Course.id))
    except IntegrityError as error:
        if violates(error, "uq_courses_code"):
            raise CodeTaken from error
        raise
    return int(row.id)


def create_enrolment(caller: Caller, course_id: int) -> Any:
    """Enrol the caller in a course and return the enrolment.

    Raises NotFound, AlreadyEnrolled and CourseFull, and TokenRevoked if the caller was deleted meanwhile.
    """
    # Every enrolment locks its course first. So of fifty requests for the last place, each counts after the one before
    # it has committed. Without the lock all fifty would count the same number, and all would fit.
    locked = write(_LOCK_COURSE, course_id=course_id)
    if not locked:
        raise NotFound
    [state] = fetch_all(_STATE, course_id=course_id, user_id=caller.id)
    if state.own:
        raise AlreadyEnrolled
    if state.enrolled >= locked[0].capacity:
        raise CourseFull
    values = {"course_id": course_id, "user_id": caller.id, "enrolled_at": utc_now(), "grade": None}
    try:
        [row] = write(_NEW_ENROLMENT, **values)
    except IntegrityError as error:
        if violates(error, "fk_enrolments_user_id_users"):
            raise TokenRevoked from error
        raise
    enrolment = fetch_one(_ENROLMENT, enrolment_id=row.id)
    if enrolment is None:  # the deletion of the user has begun, which hides what belongs to the user
        raise TokenRevoked
    return enrolment


def list_enrolments(course_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of the enrolments in a course. Raises NotFound."""
    get_course(course_id)
    return _paginate_enrolments(query, course_id=course_id)


def list_enrolments_of(caller: Caller, user_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of the enrolments of a user. Raises Forbidden for another user's, and NotFound."""
    if not may_act_for(caller, user_id):
        raise Forbidden
    get_user(user_id)
    return _paginate_enrolments(query, user_id=user_id)


def get_enrolment(caller: Caller, enrolment_id: int) -> Any:
    """Return an enrolment. Raises NotFound, also for another user's."""
    row = fetch_one(_ENROLMENT, enrolment_id=enrolment_id)
    if row is None or not may_act_for(caller, row.user_id):
        raise NotFound
    return row


def set_grade(caller: Caller, enrolment_id: int, changes: Mapping[str, Any]) -> Any:
    """Set the grade of an enrolment, if it is given, and return the enrolment. Raises NotFound, PreconditionFailed."""
    _lock_enrolment(caller, enrolment_id)
    if changes:
        write(update(Enrolment).where(Enrolment.id == enrolment_id).values(**changes))
    return get_enrolment(caller, enrolment_id)


def delete_enrolment(caller: Caller, enrolment_id: int) -> None:
    """Delete an enrolment. Raises NotFound, also for another user's, and PreconditionFailed."""
    _lock_enrolment(caller, enrolment_id)
    write(delete(Enrolment).where(Enrolment.id == enrolment_id))


def _lock_enrolment(caller: Caller, enrolment_id: int) -> None:
    write(_LOCK_ENROLMENT, enrolment_id=enrolment_id)
    require_unchanged(get_enrolment(caller, enrolment_id), ENROLMENT)


def export_enrolments(user_id: int) -> Iterator[Mapping[str, Any]]:
    """Yield the enrolments of a user for the export of their data, in the form of responses."""
    for row in fetch_all(_ENROLMENTS.where(Enrolment.user_id == user_id).order_by(Enrolment.id)):
        yield ENROLMENT.dump(row)
