"""Maintenance mode. While it is on, every worker answers 503 on all routes but a few, within a second."""

from __future__ import annotations

from app.features import Feature
from app.maintenance import commands, service
from app.maintenance.examples import EXAMPLES
from app.maintenance.models import ServiceContext
from app.maintenance.views import service_context

feature = Feature(
    name="maintenance",
    api=(service_context,),
    tables=(ServiceContext,),
    commands=(commands.maintenance,),
    init_app=service.init_app,
    examples=EXAMPLES,
)
