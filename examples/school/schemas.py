"""What clients send, and what they get."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import (
    Identifier,
    Inline,
    InputSchema,
    Integer,
    OutputSchema,
    Text,
    Timestamp,
    Title,
    changes_of,
)
from app.api.pagination import ListQuery, sort_field
from examples.school.models import (
    CODE_LENGTH,
    COURSE_ORDERS,
    ENROLMENT_ORDERS,
    GRADE_LENGTH,
    MAX_CAPACITY,
    MAX_CREDITS,
    NAME_LENGTH,
)

CODE, COURSE_NAME, INSTRUCTOR = {"example": "MATH-101"}, {"example": "Calculus"}, {"example": "Emmy Noether"}
GRADE = {"description": "Null until an administrator sets it.", "example": "A+"}


class NewCourse(InputSchema):
    """A complete course, for POST and PUT."""

    code = Text(
        1,
        CODE_LENGTH,
        pattern="[A-Z0-9-]+",
        required=True,
        metadata=CODE,
        error_messages={"pattern": "Must consist of A-Z, 0-9 and hyphens."},
    )
    name = Title(1, NAME_LENGTH, required=True, metadata=COURSE_NAME)
    instructor = Title(0, NAME_LENGTH, load_default="", metadata=INSTRUCTOR)
    credits = Integer(1, MAX_CREDITS, required=True, metadata={"example": 5})
    capacity = Integer(
        1, MAX_CAPACITY, required=True, metadata={"description": "The most enrolments it can have.", "example": 30}
    )


CourseChanges = changes_of(NewCourse)


class CourseQuery(ListQuery):
    """The query parameters of the list of courses."""

    sort = sort_field(*COURSE_ORDERS, default="code")


class CourseView(OutputSchema):
    """A course, with the number of its enrolments."""

    id = Identifier()
    code = fields.String(metadata=CODE)
    name = fields.String(metadata=COURSE_NAME)
    instructor = fields.String(metadata=INSTRUCTOR)
    credits = Integer(1, MAX_CREDITS, metadata={"example": 5})
    capacity = Integer(1, MAX_CAPACITY, metadata={"example": 30})
    enrolled = Integer(0, MAX_CAPACITY, metadata={"description": "How many enrolments it has.", "example": 12})
    created_at = Timestamp()
    updated_at = Timestamp()


class GradeChanges(InputSchema):
    """The grade of an enrolment; null removes it."""

    grade = Title(1, GRADE_LENGTH, allow_none=True, metadata={"example": "A+"})


class EnrolmentQuery(ListQuery):
    """The query parameters of the lists of enrolments."""

    sort = sort_field(*ENROLMENT_ORDERS, default="-enrolled_at")


class EnrolledCourse(OutputSchema):
    """The course of an enrolment."""

    id = Identifier(attribute="course_id")
    code = fields.String(attribute="course_code", metadata=CODE)
    name = fields.String(attribute="course_name", metadata=COURSE_NAME)


class EnrolledUser(OutputSchema):
    """The user of an enrolment."""

    id = Identifier(attribute="user_id")
    name = fields.String(attribute="user_name", metadata={"example": "Alice"})


class EnrolmentView(OutputSchema):
    """An enrolment of a user in a course."""

    id = Identifier()
    course = Inline(EnrolledCourse)
    user = Inline(EnrolledUser)
    enrolled_at = Timestamp()
    grade = fields.String(allow_none=True, metadata=GRADE)


COURSE: Schema = CourseView()
ENROLMENT: Schema = EnrolmentView()
