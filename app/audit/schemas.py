"""What of the audit log is asked for and shown."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import Choice, Identifier, OutputSchema, QueryInteger, QueryTimestamp, Timestamp
from app.api.pagination import ListQuery, sort_field
from app.audit.models import ACTORS, EVENTS


class OwnEventListQuery(ListQuery):
    """How to list what happened to oneself."""

    created_after = QueryTimestamp(
        metadata={"description": "Only events after this moment.", "example": "2026-01-31T12:00:00Z"}
    )
    created_before = QueryTimestamp(
        metadata={"description": "Only events before this moment.", "example": "2026-02-28T12:00:00Z"}
    )
    sort = sort_field("created_at", default="-created_at")


class AuditQuery(OwnEventListQuery):
    """How to list what happened to anyone."""

    event = Choice(*EVENTS, metadata={"description": "Only events of this kind."})
    user_id = QueryInteger(metadata={"description": "Only events about this user, who may be gone.", "example": 7})
    actor_id = QueryInteger(metadata={"description": "Only what this user did, to whomever.", "example": 1})


class OwnEvent(OutputSchema):
    """What happened to one's account or sessions."""

    id = Identifier()
    event = Choice(*EVENTS, metadata={"example": "logged_in"})
    created_at = Timestamp()
    actor = Choice(
        *ACTORS,
        metadata={
            "description": "By whom; 'operator' is at the service's command line, 'anonymous' has not signed in.",
            "example": "self",
        },
    )
    session_id = Identifier(
        allow_none=True, metadata={"description": "The session that it is about, or that it was done in."}
    )
    detail = fields.String(
        allow_none=True,
        metadata={"description": "Of a revoked session why, of a role which.", "examples": [None]},
    )
    ip = fields.String(allow_none=True, metadata={"example": "203.0.113.7"})
    user_agent = fields.String(allow_none=True, metadata={"example": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"})
    request_id = fields.String(allow_none=True, metadata={"example": "7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"})


class AuditEvent(OwnEvent):
    """What happened to anyone's account or sessions, all that is known of it."""

    user_id = Identifier(
        allow_none=True, metadata={"description": "About whom; null for a login to no account. May be gone."}
    )
    actor_id = Identifier(allow_none=True, metadata={"description": "By which user, if by one."})
    email_hash = fields.String(
        allow_none=True,
        metadata={
            "description": "Of a login to no account: the same for the same address, and tells nothing of it.",
            "examples": [None],
        },
    )
    detail = fields.String(
        allow_none=True,
        metadata={"description": "Of a failure or a revoked session why, of a role which.", "examples": [None]},
    )


OWN_EVENT: Schema = OwnEvent()
AUDIT_EVENT: Schema = AuditEvent()
