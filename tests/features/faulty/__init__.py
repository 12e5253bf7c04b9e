"""A feature with faults that a code review may overlook, each of which the conformance tests have to find."""

from __future__ import annotations

from pathlib import Path

from app.features import Feature
from tests.features.faulty import service
from tests.features.faulty.examples import EXAMPLES
from tests.features.faulty.models import Thing, Visit
from tests.features.faulty.views import things

feature = Feature(
    name="faulty",
    api=(things,),
    tables=(Thing, Visit),
    migrations=Path(__file__).parent / "migrations",
    exports={"things": service.export, "visits": service.export_visits},
    examples=EXAMPLES,
)
