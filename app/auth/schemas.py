"""What the auth routes take and show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.api.fields import OPTIONAL, Choice, Flag, Identifier, InputSchema, OutputSchema, QueryFlag, Text, Timestamp
from app.api.pagination import ListQuery, sort_field
from app.security.passwords import MAX_LENGTH, is_same_password
from app.users.schemas import EmailAddress, NewAccount, PrivateUser, password_field


def cookie_field(example: bool = False) -> Flag:
    """Return the field by which a client chooses how its refresh token comes."""
    about = "Whether the refresh token comes as a cookie that no script can read, rather than in the answer."
    return Flag(load_default=False, metadata={"description": about, "example": example})


class Registration(NewAccount):
    """A new account, by its owner."""

    cookie = cookie_field()


def known_password_field() -> Text:
    """Return the field of a password that is to be verified: any that could ever have been set, and no judgement."""
    return Text(
        1, MAX_LENGTH, blank=True, required=True, metadata={"format": "password", "example": "correct horse battery"}
    )


class Login(InputSchema):
    """Who wants to sign in."""

    email = EmailAddress(required=True)
    password = known_password_field()
    cookie = cookie_field()


class RefreshToken(InputSchema):
    """A refresh token in the body, where it does not come as a bearer token."""

    refresh_token = Text(1, 4096, metadata={"example": "eyJ0eXAiOiJydCtqd3QifQ.e30.c2ln"})


class Refresh(RefreshToken):
    """A refresh token in the body, where it comes there, and how the next one is to come: after a cookie, as one."""

    cookie = cookie_field()


class PasswordChange(InputSchema):
    """The password known now and the one to be set."""

    current_password = known_password_field()
    new_password = password_field("staple of a new battery", required=True)

    @validates_schema
    def _is_a_change(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if is_same_password(data["new_password"], data["current_password"]):
            raise ValidationError("Must differ from the current password.", "new_password")


class SessionListQuery(ListQuery):
    """How to list sessions."""

    sort = sort_field("created_at", default="-created_at")


class SessionEndQuery(InputSchema):
    """Which sessions to end."""

    include_current = QueryFlag(load_default=False, metadata={"description": "End the session of this token too."})


class SessionView(OutputSchema):
    """A session as its owner sees it."""

    id = Identifier()
    created_at = Timestamp()
    last_used_at = Timestamp()
    expires_at = Timestamp()
    ip = fields.String(metadata={"example": "203.0.113.7"})
    user_agent = fields.String(metadata={"example": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"})
    current = fields.Boolean(metadata={"description": "Whether it is the session of this call.", "example": True})


class RefreshedTokens(OutputSchema):
    """A pair of tokens."""

    access_token = fields.String(metadata={"description": "A JWT.", "example": "eyJ0eXAiOiJhdCtqd3QifQ.e30.c2ln"})
    refresh_token = fields.String(
        metadata={
            "description": "A JWT. Absent where it comes as the cookie.",
            "example": "eyJ0eXAiOiJydCtqd3QifQ.e30.c2ln",
            OPTIONAL: True,
        }
    )
    csrf_token = fields.String(
        metadata={
            "description": "For `X-CSRF-TOKEN`, with the cookie; good for all of the session. Absent without a cookie.",
            "pattern": "^[0-9a-f]{32}$",
            "example": "5d41402abc4b2a76b9719d911017c592",
            OPTIONAL: True,
        }
    )
    token_type = Choice("Bearer")
    expires_in = fields.Integer(metadata={"description": "Seconds.", "minimum": 0, "example": 900})
    refresh_expires_in = fields.Integer(metadata={"description": "Seconds.", "minimum": 0, "example": 604_800})


class TokenAnswer(RefreshedTokens):
    """A pair of tokens, and whose they are."""

    user = fields.Nested(PrivateUser)
