"""The request and response schemas of users, and their fields, which `auth` uses too."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import email_validator
from email_validator import EmailNotValidError, validate_email
from marshmallow import INCLUDE, Schema, ValidationError, fields, validates_schema

from app.api.fields import (
    Choice,
    Flag,
    Identifier,
    InputSchema,
    OutputSchema,
    Text,
    TextLength,
    Timestamp,
    Title,
    changes_of,
)
from app.api.pagination import ListQuery, sort_field
from app.components import components
from app.security.passwords import MAX_LENGTH, MAX_RAW_LENGTH, MIN_LENGTH, find_weakness, normalize
from app.users.models import ROLES

MAX_EMAIL = 254
MAX_BIO = 500
# Domains in which no mail is delivered (RFC 6761, RFC 6762, RFC 7686). The library would refuse them as a wrong syntax,
# and an account of a database in which they were allowed before must be found.
SPECIAL_DOMAINS = frozenset(email_validator.SPECIAL_USE_DOMAIN_NAMES)
email_validator.SPECIAL_USE_DOMAIN_NAMES = []
NO_MAIL = "No mail is delivered to this domain: names such as .local and .test are reserved for special use."
# For developers, in place of a search; users of a production service can't set it.
HOW_TO_ALLOW = "EMAIL_ALLOW_SPECIAL_DOMAINS=true accepts them."


def fold(text: str) -> str:
    """Return the case-folded NFC form of a name, equal for all its spellings (Unicode caseless matching)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def email_key(address: str) -> str:
    """Return the form by which loaded addresses are compared: in lower case and NFC.

    Not case-folded, because "straße.de" and "strasse.de" are different domains (IDNA 2008, RFC 5894 section 7.2). The
    domain of a loaded address consists of U-labels, each of which corresponds to exactly one A-label (RFC 5890 section
    2.3.2.1) and is in lower case and NFC. So two keys have equal domains if and only if the A-labels are equal.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", address).lower())


class EmailAddress(Text):
    """An email address, validated by syntax and IDNA. Surrounding white space is removed.

    Loads as its normalized form.
    """

    default_error_messages = {"address": "Not a valid email address."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, MAX_EMAIL, metadata={"format": "email", "example": "alice@example.com"}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        trimmed = value.strip() if isinstance(value, str) else value
        text = super()._deserialize(trimmed, attr, data, **kwargs)
        try:
            # Without `strict`, local parts longer than 64 octets (RFC 5321 section 4.5.3.1.1) are accepted.
            address = validate_email(text, check_deliverability=False, strict=True).normalized
        except EmailNotValidError as error:
            raise self.make_error("address") from error
        if len(address) > MAX_EMAIL or len(email_key(address)) > MAX_EMAIL:
            raise ValidationError(f"Must have at most {MAX_EMAIL} characters.")
        return address


class NewEmailAddress(EmailAddress):
    """The email address of a new account: mail must be able to reach it, unless EMAIL_ALLOW_SPECIAL_DOMAINS is set."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        address = super()._deserialize(value, attr, data, **kwargs)
        if address.rpartition(".")[2] in SPECIAL_DOMAINS:
            settings = components().settings
            if not settings.email_allow_special_domains:
                raise ValidationError(NO_MAIL if settings.is_production else f"{NO_MAIL} {HOW_TO_ALLOW}")
        return address


def name_field(**kwargs: Any) -> Title:
    """Return the field of a user's name."""
    return Title(2, 80, metadata={"example": "Alice"}, **kwargs)


class Password(Text):
    """A password, whose length is counted after normalization. Loads as it was sent, as older hashes may require."""

    def __init__(self, minimum: int, *, example: str = "correct horse battery", **kwargs: Any) -> None:
        self._counted = TextLength(minimum, MAX_LENGTH)
        metadata = {
            "format": "password",
            "minLength": minimum,
            "description": f"{minimum} to {MAX_LENGTH} characters, counted after normalization: in Unicode form NFC, "
            "and with U+0020 for any space (RFC 8265, section 4.2.2).",
            "example": example,
        }
        super().__init__(0, MAX_RAW_LENGTH, load_only=True, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if isinstance(value, str) and len(value) > MAX_RAW_LENGTH:
            self._counted(value)
        password = super()._deserialize(value, attr, data, **kwargs)
        self._counted(normalize(password))
        return password


def password_field(example: str = "correct horse battery", **kwargs: Any) -> Password:
    """Return the field of a new password."""
    return Password(MIN_LENGTH, example=example, **kwargs)


def bio_field(**kwargs: Any) -> Text:
    """Return the field of a user's description of themselves."""
    return Text(0, MAX_BIO, multiline=True, blank=True, metadata={"example": "I write about gates."}, **kwargs)


class NewAccount(InputSchema):
    """The members that every new account requires."""

    email = NewEmailAddress(required=True)
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


ProfileChanges = changes_of(Profile)


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
