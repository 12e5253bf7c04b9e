"""The feature of a school: courses, and the enrolments of users in them."""

from __future__ import annotations

from pathlib import Path

from app.features import Feature
from examples.school import service
from examples.school.examples import EXAMPLES
from examples.school.models import Course, Enrolment
from examples.school.views import school

feature = Feature(
    name="school",
    api=(school,),
    tables=(Course, Enrolment),
    migrations=Path(__file__).parent / "migrations",
    exports={"enrolments": service.export_enrolments},
    examples=EXAMPLES,
)
