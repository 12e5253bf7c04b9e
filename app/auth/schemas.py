"""The schemas of the auth routes' requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.api.fields import OPTIONAL, Choice, Flag, Identifier, InputSchema, OutputSchema, QueryFlag, Text, Timestamp
from app.api.pagination import ListQuery, sort_field
from app.auth.tokens import MAX_TOKEN_LENGTH
from app.security.passwords import is_same_password
from app.users.schemas import EmailAddress, NewAccount, Password, PrivateUser, password_field


def cookie_field() -> Flag:
    """Return the field that selects the cookie or the body for the refresh token."""
    about = "Whether to set the refresh token as an HttpOnly cookie instead of returning it in the body."
    return Flag(load_default=False, metadata={"description": about, "example": False})


class Registration(NewAccount):
    """A new account, created by its owner."""

    cookie = cookie_field()


def known_password_field() -> Password:
    """Return the field of an existing password: the rules for new passwords, which may have changed, do not apply."""
    return Password(1, blank=True, required=True)


class Login(InputSchema):
    """The email and the password of an account."""

    email = EmailAddress(required=True)
    password = known_password_field()
    cookie = cookie_field()


class RefreshToken(InputSchema):
    """A refresh token, if it is not sent as a bearer token."""

    refresh_token = Text(1, MAX_TOKEN_LENGTH, load_only=True, metadata={"example": "eyJ0eXAiOiJydCtqd3QifQ.e30.c2ln"})


class Refresh(RefreshToken):
    """A refresh token, if it is not sent as a bearer token, and how to return the next one.

    A token that was sent in the cookie is always replaced in the cookie.
    """

    cookie = cookie_field()


class PasswordChange(InputSchema):
    """The current password and the new one."""

    current_password = known_password_field()
    new_password = password_field("staple of a new battery", required=True)

    @validates_schema
    def _is_a_change(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if is_same_password(data["new_password"], data["current_password"]):
            raise ValidationError("Must differ from the current password.", "new_password")


class Reauthentication(InputSchema):
    """The password of the signed-in user."""

    password = known_password_field()


class NewPassword(InputSchema):
    """A new password that an operator sets."""

    password = password_field(required=True)


class SessionListQuery(ListQuery):
    """The order and the page of a list of sessions."""

    sort = sort_field("created_at", default="-created_at")


class SessionEndQuery(InputSchema):
    """Which sessions to end."""

    include_current = QueryFlag(
        load_default=False, metadata={"description": "Also end the session of the access token."}
    )


class SessionView(OutputSchema):
    """A session as its owner and administrators see it."""

    id = Identifier()
    created_at = Timestamp()
    last_used_at = Timestamp()
    expires_at = Timestamp()
    ip = fields.String(metadata={"example": "203.0.113.7"})
    user_agent = fields.String(metadata={"example": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"})
    current = fields.Boolean(
        metadata={"description": "Whether this is the session of the access token.", "example": True}
    )


class FreshToken(OutputSchema):
    """An access token."""

    access_token = fields.String(metadata={"description": "A JWT.", "example": "eyJ0eXAiOiJhdCtqd3QifQ.e30.c2ln"})
    token_type = Choice("Bearer")
    expires_in = fields.Integer(metadata={"description": "Lifetime in seconds.", "minimum": 0, "example": 900})


class RefreshedTokens(FreshToken):
    """A pair of tokens."""

    refresh_token = fields.String(
        metadata={
            "description": "A JWT. Absent if it is set as the cookie.",
            "example": "eyJ0eXAiOiJydCtqd3QifQ.e30.c2ln",
            OPTIONAL: True,
        }
    )
    csrf_token = fields.String(
        metadata={
            "description": "For `X-CSRF-TOKEN`, with the cookie; constant for the session. Absent without the cookie.",
            "pattern": "^[0-9a-f]{32}$",
            "example": "5d41402abc4b2a76b9719d911017c592",
            OPTIONAL: True,
        }
    )
    refresh_expires_in = fields.Integer(
        metadata={"description": "Lifetime in seconds.", "minimum": 0, "example": 604_800}
    )


class TokenAnswer(RefreshedTokens):
    """A pair of tokens and their user."""

    user = fields.Nested(PrivateUser)
