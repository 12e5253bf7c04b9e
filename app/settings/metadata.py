"""The declaration of a setting: what is known of it besides its name and its type. Must not import Flask."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.settings.environment import InvalidValue
from app.settings.parsers import Parser

DECLARATION = "declaration"
# Greedy up to the last @, in case a password contains one that is not escaped; then the parameters of drivers.
_URL_PASSWORDS = re.compile(r"(?<=://)([^:/?#]*:).*(?=@)|((?<=[?&])\w*password=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sum:
    """A default that depends on another number, which must be declared earlier."""

    setting: str
    increment: int

    def __str__(self) -> str:
        return f"{self.setting} + {self.increment}"


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting, without its name and type."""

    group: str
    parser: Parser
    default: object
    # Takes the place of `default` with APP_ENV=production; None for the same one.
    production_default: object
    # Whether production has no default and refuses to start without a value.
    is_required: bool
    # Hides the secret part of a value that is shown; None for what is not secret.
    mask: Callable[[str], str] | None
    # In Markdown; paragraphs are separated by newlines.
    help: str

    @property
    def accepted(self) -> str:
        """The accepted values in Markdown, "" where `help` describes them."""
        return str(getattr(self.parser, "accepted", ""))

    def default_for(self, app_env: str) -> object:
        """Return the default with this APP_ENV, as it would be written in the environment."""
        if app_env != "production":
            return self.default
        if self.is_required:
            return None
        return self.default if self.production_default is None else self.production_default

    def default_value(self, values: Mapping[str, Any]) -> object:
        """Return the parsed default, given the settings declared earlier. Raises InvalidValue where one is required."""
        app_env = values.get("app_env", "development")
        if self.is_required and app_env == "production":
            raise InvalidValue("Required in production.")
        default = self.default_for(app_env)
        if isinstance(default, Sum):
            base = values.get(default.setting.lower())
            return None if base is None else base + default.increment
        text = format_value(default)
        return self.parser(text) if text else default

    def show(self, value: object) -> str:
        """Return a value as text for people, without its secret part."""
        text = format_value(value)
        return self.mask(text) if self.mask and text else text


def setting(
    group: str,
    parser: Parser,
    default: object,
    *,
    help: str,  # noqa: A002  # the name that argparse and click have for it
    production_default: object = None,
    is_required: bool = False,
    mask: Callable[[str], str] | None = None,
) -> Any:
    """Declare a setting as a field of a dataclass."""
    declaration = Declaration(group, parser, default, production_default, is_required, mask, help)
    return field(metadata={DECLARATION: declaration}, repr=mask is None)


def format_value(value: object) -> str:
    """Return a value as it is written in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def mask_all(text: str) -> str:
    """Return stars in place of a secret."""
    return "********"


def mask_url(text: str) -> str:
    """Return a URL with stars in place of its passwords."""
    return _URL_PASSWORDS.sub(lambda match: f"{match[1] or match[2]}***", text)
