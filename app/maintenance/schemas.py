"""What of the service context can be changed and is shown."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import Flag, InputSchema, OutputSchema, Seconds, Text, Timestamp

MESSAGE = "Back at noon."


MAX_RETRY_AFTER_SECONDS = 7 * 24 * 3600


class ContextChanges(InputSchema):
    """What of the context may be changed."""

    maintenance = Flag()
    message = Text(0, 500, multiline=True, blank=True, metadata={"example": MESSAGE})
    retry_after = Seconds(1, MAX_RETRY_AFTER_SECONDS, metadata={"description": "Seconds.", "example": 600})


class ContextView(OutputSchema):
    """The context as administrators see it."""

    maintenance = fields.Boolean()
    message = fields.String(metadata={"description": "What clients are told.", "example": MESSAGE})
    retry_after = fields.Integer(metadata={"description": "Seconds.", "example": 600})
    updated_at = Timestamp(allow_none=True)


CONTEXT: Schema = ContextView()
