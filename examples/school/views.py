"""The HTTP routes of courses and enrolments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from app.api.access import ADMIN, OPTIONAL, SIGNED_IN, Caller
from app.api.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from app.api.pagination import Page
from app.api.responses import Created, created, listing, no_content, ok
from app.api.routing import Api
from examples.school import service
from examples.school.problems import AlreadyEnrolled, CodeTaken, CourseFull
from examples.school.schemas import (
    COURSE,
    ENROLMENT,
    CourseChanges,
    CourseQuery,
    EnrolmentQuery,
    GradeChanges,
    NewCourse,
)

school = Api("school", __name__)
CHANGES = (NotFound, PreconditionFailed)


@school.operation("GET", "/courses", access=OPTIONAL, query=CourseQuery(), answer=listing(COURSE))
def list_courses(caller: Caller | None, query: Mapping[str, Any]) -> Page:
    """List the courses."""
    return service.list_courses(query)


@school.operation(
    "POST",
    "/courses",
    access=ADMIN,
    body=NewCourse(),
    answer=created(COURSE),
    problems=(CodeTaken,),
    idempotent=True,
)
def create_course(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create a course."""
    course = service.create_course(body)
    return Created(course, url_for("school.get_course", course_id=course.id))


@school.operation("GET", "/courses/<id:course_id>", access=OPTIONAL, answer=ok(COURSE), problems=(NotFound,))
def get_course(caller: Caller | None, course_id: int) -> Any:
    """Read a course."""
    return service.get_course(course_id)


@school.operation(
    "PUT",
    "/courses/<id:course_id>",
    access=ADMIN,
    body=NewCourse(),
    answer=ok(COURSE),
    problems=(*CHANGES, CodeTaken, Conflict),
)
def replace_course(caller: Caller, course_id: int, body: Mapping[str, Any]) -> Any:
    """Replace a course. Its capacity cannot be lower than the number of its enrolments."""
    return service.update_course(course_id, body)


@school.operation(
    "PATCH",
    "/courses/<id:course_id>",
    access=ADMIN,
    body=CourseChanges(),
    answer=ok(COURSE),
    problems=(*CHANGES, CodeTaken, Conflict),
)
def update_course(caller: Caller, course_id: int, body: Mapping[str, Any]) -> Any:
    """Change the given members of a course. Its capacity cannot be lower than the number of its enrolments."""
    return service.update_course(course_id, body)


@school.operation("DELETE", "/courses/<id:course_id>", access=ADMIN, answer=no_content(), problems=CHANGES)
def delete_course(caller: Caller, course_id: int) -> None:
    """Delete a course with its enrolments."""
    service.delete_course(course_id)


@school.operation(
    "POST",
    "/courses/<id:course_id>/enrolments",
    access=SIGNED_IN,
    answer=created(ENROLMENT),
    problems=(NotFound, AlreadyEnrolled, CourseFull),
    idempotent=True,
)
def create_enrolment(caller: Caller, course_id: int) -> Created:
    """Enrol yourself in a course."""
    enrolment = service.create_enrolment(caller, course_id)
    return Created(enrolment, url_for("school.get_enrolment", enrolment_id=enrolment.id))


@school.operation(
    "GET",
    "/courses/<id:course_id>/enrolments",
    access=ADMIN,
    query=EnrolmentQuery(),
    answer=listing(ENROLMENT),
    problems=(NotFound,),
)
def list_enrolments(caller: Caller, course_id: int, query: Mapping[str, Any]) -> Page:
    """List the enrolments in a course."""
    return service.list_enrolments(course_id, query)


@school.operation(
    "GET",
    "/users/<id:user_id>/enrolments",
    access=SIGNED_IN,
    query=EnrolmentQuery(),
    answer=listing(ENROLMENT),
    problems=(Forbidden, NotFound),
)
def list_enrolments_of(caller: Caller, user_id: int, query: Mapping[str, Any]) -> Page:
    """List the enrolments of a user. The user and administrators can."""
    return service.list_enrolments_of(caller, user_id, query)


@school.operation("GET", "/enrolments/<id:enrolment_id>", access=SIGNED_IN, answer=ok(ENROLMENT), problems=(NotFound,))
def get_enrolment(caller: Caller, enrolment_id: int) -> Any:
    """Read an enrolment. Its user and administrators can."""
    return service.get_enrolment(caller, enrolment_id)


@school.operation(
    "PATCH",
    "/enrolments/<id:enrolment_id>",
    access=ADMIN,
    body=GradeChanges(),
    answer=ok(ENROLMENT),
    problems=CHANGES,
)
def update_enrolment(caller: Caller, enrolment_id: int, body: Mapping[str, Any]) -> Any:
    """Set the grade of an enrolment."""
    return service.set_grade(caller, enrolment_id, body)


@school.operation("DELETE", "/enrolments/<id:enrolment_id>", access=SIGNED_IN, answer=no_content(), problems=CHANGES)
def delete_enrolment(caller: Caller, enrolment_id: int) -> None:
    """Delete an enrolment. Its user and administrators can."""
    service.delete_enrolment(caller, enrolment_id)
