"""What the operational routes show."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import OPTIONAL, Choice, OutputSchema


class Health(OutputSchema):
    """That the process answers."""

    status = Choice("healthy")


class Readiness(OutputSchema):
    """Whether requests may be sent here, and why not."""

    status = Choice("ready", "unready", "draining")
    database = Choice("ok", "unavailable")
    migrations = Choice("ok", "ahead", "pending", "unknown")
    maintenance = fields.Boolean(metadata={"description": "Whether other routes are closed; that is no unreadiness."})
    redis = Choice(
        "ok",
        "unavailable",
        metadata={OPTIONAL: True, "description": "Where it is configured; limits go on without it."},
    )


HEALTH: Schema = Health()
READINESS: Schema = Readiness()
