"""The feature of items: texts and numbers that a user keeps under keys, and transfers between the numbers."""

from __future__ import annotations

from pathlib import Path

from app.features import Feature
from examples.keyval import service
from examples.keyval.examples import EXAMPLES
from examples.keyval.models import Item
from examples.keyval.views import keyval

feature = Feature(
    name="keyval",
    api=(keyval,),
    tables=(Item,),
    migrations=Path(__file__).parent / "migrations",
    exports={"items": service.items.export},
    examples=EXAMPLES,
)
