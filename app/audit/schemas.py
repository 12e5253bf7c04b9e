"""The request and response schemas of the audit log."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import Choice, DateTime, Identifier, OutputSchema, QueryInteger, Timestamp
from app.api.pagination import ListQuery, sort_field
from app.audit.models import ACTORS, EVENTS


class OwnEventListQuery(ListQuery):
    """The query parameters of the list of one's own events."""

    created_after = DateTime(
        metadata={"description": "Only events after this time.", "example": "2026-01-31T12:00:00Z"}
    )
    created_before = DateTime(
        metadata={"description": "Only events before this time.", "example": "2026-02-28T12:00:00Z"}
    )
    sort = sort_field("created_at", default="-created_at")


class AuditQuery(OwnEventListQuery):
    """The query parameters of the list of all events."""

    event = Choice(*EVENTS, metadata={"description": "Only events of this kind."})
    user_id = QueryInteger(metadata={"description": "Only events about this user, who may be deleted.", "example": 7})
    actor_id = QueryInteger(metadata={"description": "Only events caused by this user.", "example": 1})


class OwnEvent(OutputSchema):
    """An event about your account or one of your sessions."""

    id = Identifier()
    event = Choice(*EVENTS, metadata={"example": "logged_in"})
    created_at = Timestamp()
    actor = Choice(
        *ACTORS,
        metadata={
            "description": "By whom: 'operator' used the command line, 'anonymous' sent no credentials.",
            "example": "self",
        },
    )
    session_id = Identifier(
        allow_none=True, metadata={"description": "The session that the event is about, or in which it was caused."}
    )
    detail = fields.String(
        allow_none=True,
        metadata={"description": "The reason of a revocation, or the new role.", "examples": [None]},
    )
    ip = fields.String(allow_none=True, metadata={"example": "203.0.113.7"})
    user_agent = fields.String(allow_none=True, metadata={"example": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"})
    request_id = fields.String(allow_none=True, metadata={"example": "7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"})


class AuditEvent(OwnEvent):
    """An event about any account or session, with all its members."""

    user_id = Identifier(
        allow_none=True,
        metadata={"description": "The user it is about, who may be deleted; null for a login to no account."},
    )
    actor_id = Identifier(allow_none=True, metadata={"description": "The user who caused it, if one did."})
    email_hash = fields.String(
        allow_none=True,
        metadata={
            "description": "For a login to no account, a keyed hash of the email address.",
            "examples": [None],
        },
    )
    detail = fields.String(
        allow_none=True,
        metadata={"description": "The reason of a failure or revocation, or the new role.", "examples": [None]},
    )


OWN_EVENT: Schema = OwnEvent()
AUDIT_EVENT: Schema = AuditEvent()
