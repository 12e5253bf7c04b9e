"""The request and response schemas of users, and their fields, which `auth` uses too."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from email_validator import EmailNotValidError, validate_email
from marshmallow import INCLUDE, Schema, ValidationError, fields, validates_schema

from app.api.fields import Choice, Flag, Identifier, InputSchema, OutputSchema, Text, Timestamp
from app.api.pagination import ListQuery, sort_field
from app.security.passwords import MAX_LENGTH, MIN_LENGTH, find_weakness
from app.users.models import ROLES

MAX_EMAIL = 254
MAX_BIO = 500


def fold(text: str) -> str:
    """Return the case-folded NFC form, equal for all spellings of a name or address (Unicode caseless matching)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class EmailAddress(Text):
    """An email address, validated by syntax and IDNA. Loads as its normalized form."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, MAX_EMAIL, metadata={"format": "email", "example": "alice@example.com"}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            # Without `strict`, local parts longer than 64 octets (RFC 5321 section 4.5.3.1.1) are accepted.
            address = validate_email(text, check_deliverability=False, strict=True).normalized
        except EmailNotValidError as error:
            raise ValidationError("Not a valid email address.") from error
        if len(address) > MAX_EMAIL or len(fold(address)) > MAX_EMAIL:
            raise ValidationError(f"Must have at most {MAX_EMAIL} characters.")
        return address


def name_field(**kwargs: Any) -> Text:
    """Return the field of a user's name."""
    return Text(2, 80, metadata={"example": "Alice"}, **kwargs)


def password_field(example: str = "correct horse battery", **kwargs: Any) -> Text:
    """Return the field of a new password."""
    return Text(
        MIN_LENGTH,
        MAX_LENGTH,
        metadata={"format": "password", "example": example},
        **kwargs,
    )


def bio_field(**kwargs: Any) -> Text:
    """Return the field of a user's description of themselves."""
    return Text(0, MAX_BIO, multiline=True, blank=True, metadata={"example": "I write about gates."}, **kwargs)


class NewAccount(InputSchema):
    """The members that every new account requires."""

    email = EmailAddress(required=True)
    name = name_field(required=True)
    password = password_field(required=True)

    @validates_schema
    def _password_is_strong(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        weakness = find_weakness(data["password"], name=data["name"], email=data["email"])
        if weakness:
            raise ValidationError(weakness, "password")


class NewUser(NewAccount):
    """An account that an administrator creates."""

    role = Choice(*ROLES, load_default="user")


class Profile(InputSchema):
    """A complete profile, for PUT. Only an administrator may set `role` and `is_active`; absent, they do not change."""

    name = name_field(required=True)
    bio = bio_field(load_default="")
    role = Choice(*ROLES)
    is_active = Flag()


class ProfileChanges(Profile):
    """The members of a profile to change, for PATCH."""

    name = name_field()
    bio = bio_field()


class UserListQuery(ListQuery):
    """The query parameters of the list of users."""

    q = Text(
        1,
        80,
        metadata={"description": "Part of a name; for an administrator also of an email address.", "example": "ali"},
    )
    sort = sort_field("created_at", "name", default="created_at")


class PublicUser(OutputSchema):
    """The public members of a user."""

    id = Identifier()
    name = fields.String(metadata={"example": "Alice"})
    bio = fields.String(metadata={"example": "I write about gates."})
    created_at = Timestamp()


class PrivateUser(PublicUser):
    """The members of a user that the user and administrators see."""

    # Normalized, with the labels of the domain in Unicode (RFC 6531).
    email = fields.String(metadata={"format": "idn-email", "example": "alice@example.com"})
    email_verified = fields.Boolean()
    role = Choice(*ROLES)
    is_active = fields.Boolean(metadata={"example": True})
    updated_at = Timestamp()


class UserExport(OutputSchema):
    """Everything stored about a user: the account, and one member for each feature that stores data of users."""

    class Meta:
        unknown = INCLUDE

    user = fields.Nested(PrivateUser)


class Deletion(OutputSchema):
    """The state of a deletion that takes several requests."""

    status = Choice("deleting")


PUBLIC_USER: Schema = PublicUser()
PRIVATE_USER: Schema = PrivateUser()
USER_EXPORT: Schema = UserExport()
DELETION: Schema = Deletion()
