"""What the operational routes show."""

from __future__ import annotations

from marshmallow import INCLUDE, Schema, fields

from app.fields import Choice, OutputSchema


class Health(OutputSchema):
    """That the process answers."""

    status = Choice("healthy")


class Readiness(OutputSchema):
    """Whether requests may be sent here, and why not."""

    status = Choice("ready", "unready")
    database = Choice("ok", "unavailable")
    migrations = Choice("ok", "ahead", "pending", "unknown")


class OpenApi(OutputSchema):
    """An OpenAPI document."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(metadata={"example": "3.1.0"})
    info = fields.Dict()
    paths = fields.Dict()


HEALTH: Schema = Health()
READINESS: Schema = Readiness()
OPENAPI: Schema = OpenApi()
