"""The request and response schemas of the service context."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import Flag, InputSchema, Integer, OutputSchema, Text, Timestamp

MESSAGE = "Back at noon."
MAX_RETRY_AFTER_SECONDS = 7 * 24 * 3600


class ContextChanges(InputSchema):
    """The members of the service context that can be changed."""

    maintenance = Flag()
    message = Text(0, 500, multiline=True, blank=True, metadata={"example": MESSAGE})
    retry_after = Integer(
        1,
        MAX_RETRY_AFTER_SECONDS,
        metadata={"description": "The Retry-After of the 503 responses, in seconds.", "example": 600},
    )


class ContextView(OutputSchema):
    """The service context, as administrators see it."""

    maintenance = fields.Boolean()
    message = fields.String(metadata={"description": "The `detail` of the 503 responses.", "example": MESSAGE})
    retry_after = fields.Integer(
        metadata={"description": "The Retry-After of the 503 responses, in seconds.", "example": 600}
    )
    updated_at = Timestamp(allow_none=True)


CONTEXT: Schema = ContextView()
