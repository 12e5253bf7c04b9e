"""The response schemas of /health and /health/ready."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import OPTIONAL, Choice, OutputSchema


class Health(OutputSchema):
    """The process is running and answers requests."""

    status = Choice("healthy")


class Readiness(OutputSchema):
    """Whether this replica can serve requests, and the result of each check."""

    status = Choice("ready", "unready")
    database = Choice("ok", "unavailable", "read_only", "misconfigured")
    migrations = Choice("ok", "ahead", "pending", "unknown")
    maintenance = fields.Boolean(
        metadata={"description": "Whether maintenance mode is on. It does not affect `status`."}
    )
    redis = Choice(
        "ok",
        "unavailable",
        metadata={OPTIONAL: True, "description": "Present if REDIS_URL is set. It does not affect `status`."},
    )


HEALTH: Schema = Health()
READINESS: Schema = Readiness()
