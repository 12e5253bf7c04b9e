"""What the auth routes take and show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from app.fields import InputSchema, OutputSchema, QueryFlag, Text, Timestamp
from app.pagination import ListQuery, sort_field
from app.passwords import MAX_LENGTH
from app.users.schemas import EmailAddress, NewAccount, PrivateUser, password_field


class Registration(NewAccount):
    """A new account, by its owner."""


def known_password_field() -> Text:
    """Return the field of a password that is to be verified: any that could ever have been set, and no judgement."""
    return Text(1, MAX_LENGTH, blank=True, required=True, metadata={"format": "password"})


class Login(InputSchema):
    """Who wants to sign in."""

    email = EmailAddress(required=True)
    password = known_password_field()


class RefreshToken(InputSchema):
    """A refresh token in the body, where it does not come as a bearer token."""

    refresh_token = Text(1, 4096)


class PasswordChange(InputSchema):
    """The password known now and the one to be set."""

    current_password = known_password_field()
    new_password = password_field(required=True)

    @validates_schema
    def _is_a_change(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if data["new_password"] == data["current_password"]:
            raise ValidationError("Must differ from the current password.", "new_password")


class SessionListQuery(ListQuery):
    """How to list sessions."""

    sort = sort_field("created_at", default="-created_at")


class SessionEndQuery(InputSchema):
    """Which sessions to end."""

    include_current = QueryFlag(load_default=False, metadata={"description": "End the session of this token too."})


class SessionView(OutputSchema):
    """A session as its owner sees it."""

    id = fields.Integer()
    created_at = Timestamp()
    last_used_at = Timestamp()
    expires_at = Timestamp()
    ip = fields.String()
    user_agent = fields.String()
    current = fields.Boolean()


class RefreshedTokens(OutputSchema):
    """A pair of tokens."""

    access_token = fields.String()
    refresh_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    refresh_expires_in = fields.Integer()


class TokenAnswer(RefreshedTokens):
    """A pair of tokens, and whose they are."""

    user = fields.Nested(PrivateUser)
