"""Parsers of settings: each takes the text of a variable and returns its value, or raises InvalidValue.

Must not import Flask.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from limits import parse as parse_limit
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.security.key_files import InvalidKeyFile, find_rotation_files, read_key_file
from app.settings import environment
from app.settings.environment import InvalidValue, read_passwords
from app.settings.postgres_url import MAX_PORT, parse_postgres_url

Parser = Callable[[str], object]

# RFC 7518, section 3.2: a key for HS256 has at least as many bits as the hash, 256.
MIN_SECRET_BYTES = 32
# Counters are stored in 32-bit integers.
MAX_LIMIT_AMOUNT = 1_000_000_000
MAX_LIMIT_SECONDS = 31 * 24 * 3600
MAX_TEXT_LENGTH = 200
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class _Range:
    minimum: float
    maximum: float

    @property
    def accepted(self) -> str:
        """The accepted values, for documentation."""
        return f"{self.minimum} to {self.maximum}"


class Integer(_Range):
    """Parses a whole number from `minimum` to `maximum`, both included."""

    def __call__(self, text: str) -> int:
        # int() also accepts underscores and digits of other scripts.
        if re.fullmatch(r"-?[0-9]{1,18}", text) and self.minimum <= int(text) <= self.maximum:
            return int(text)
        raise InvalidValue(f"Must be a whole number from {self.accepted}.")


class Decimal(_Range):
    """Parses a number from `minimum` to `maximum`, both included, that may have decimals."""

    def __call__(self, text: str) -> float:
        if re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", text) and self.minimum <= float(text) <= self.maximum:
            return float(text)
        raise InvalidValue(f"Must be a number from {self.accepted}.")


class Choice:
    """Parses one of a few words, exactly as they are written."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    @property
    def accepted(self) -> str:
        """The accepted values, for documentation."""
        return ", ".join(f"`{choice}`" for choice in self.choices)

    def __call__(self, text: str) -> str:
        if text not in self.choices:
            raise InvalidValue(f"Must be one of: {', '.join(self.choices)}.")
        return text


class Boolean:
    """Parses true or false, also as 1, yes, on, 0, no, off; upper and lower case are the same."""

    accepted = "`true`, `false`"

    def __call__(self, text: str) -> bool:
        if text.lower() not in TRUE + FALSE:
            raise InvalidValue("Must be true or false.")
        return text.lower() in TRUE


def comma_separated(parser: Callable[[str], str]) -> Parser:
    """Return the parser of a comma-separated list of values that `parser` accepts."""
    return lambda text: tuple(parser(part.strip()) for part in text.split(",") if part.strip())


def parse_text(text: str) -> str:
    """Return a text of at most MAX_TEXT_LENGTH characters."""
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidValue(f"Must have at most {MAX_TEXT_LENGTH} characters.")
    return text


def parse_database_url(text: str) -> str:
    """Return the URL of a PostgreSQL database, or of an SQLite file; a relative path starts at the project's folder."""
    if re.match(r"\s*[a-z_]+\s*=|postgres(ql)?(\+psycopg2)?://", text):
        return parse_postgres_url(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise InvalidValue("Not a database URL.") from error
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InvalidValue("Must start with postgresql:// or sqlite:///.")
    if not url.database or ":memory:" in url.database or url.query:
        raise InvalidValue("SQLite needs a file: workers cannot share a database in memory.")
    path = environment.ROOT / url.database
    _require_writable(path, next((folder for folder in path.parents if os.access(folder, os.F_OK)), path))
    return f"sqlite:///{path}"


def parse_password_file(text: str) -> str:
    """Return the path of a file with the passwords of the database."""
    path = environment.ROOT / text
    read_passwords(path)
    return str(path)


def parse_log_file(text: str) -> str:
    """Return the path of a log file. A full log is renamed, so the folder must be writable too."""
    path = Path(text)
    _require_writable(path, path.parent)
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not path.is_file()):
        raise InvalidValue("Must name a writable file in a writable folder.")
    return text


def _require_writable(path: Path, folder: Path) -> None:
    """Check that `path` is a writable file, or that it can be created in `folder`."""
    if os.access(path, os.F_OK):
        is_writable = os.access(path, os.W_OK) and not path.is_dir()
    else:
        is_writable = os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()
    if not is_writable:
        raise InvalidValue("Must name a writable file.")


def parse_secret(text: str) -> str:
    """Return a key for HS256."""
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise InvalidValue(f"Must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2).")
    if "-----BEGIN" in text:
        # RFC 8725, section 2.1: the public half of such a key would sign tokens, and everyone may have it.
        raise InvalidValue("Contains a PEM key; set JWT_PRIVATE_KEY_FILE to the path of its file instead.")
    return text


def parse_signing_key_file(text: str) -> str:
    """Return the path of a private key's file; checks the files of its next and previous key too."""
    path = parse_key_file(text, needs_private=True)
    for beside in find_rotation_files(path):
        parse_key_file(beside, needs_private=True)
    return path


def parse_key_file(text: str, *, needs_private: bool = False) -> str:
    """Return the path of a key file, private or public."""
    path = str(environment.ROOT / text)
    try:
        read_key_file(path, needs_private=needs_private)
    except InvalidKeyFile as error:
        raise InvalidValue(f"{text} {error}") from error
    return path


def parse_origin(text: str) -> str:
    """Return an origin without the scheme's default port.

    It must be as browsers serialise it: scheme, host and port, in lower case (RFC 6454, section 6.2).
    """
    if text == "*":
        return text
    match = re.fullmatch(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", text)
    if not match or not 1 <= int(match[1] or 1) <= MAX_PORT:
        raise InvalidValue(f"{text!r} is not an origin such as https://app.example.com.")
    default_port = {"http": ":80", "https": ":443"}[urlsplit(text).scheme]
    return text.removesuffix(default_port) if match[1] else text


def parse_header_name(text: str) -> str:
    """Return the name of a request header; `*` is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", text):
        raise InvalidValue(f"{text!r} is not the name of a header, such as X-Client-Version.")
    return text


def parse_cookie_name(text: str) -> str:
    """Return the name of a cookie (RFC 6265 section 4.1.1)."""
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}", text):
        raise InvalidValue("Must be the name of a cookie (RFC 6265, section 4.1.1), of at most 64 characters.")
    # Browsers require Path=/ with `__Host-`, but the cookie is sent to the auth routes only.
    if text.startswith("__"):
        raise InvalidValue("Must not start with '__': over TLS the service itself adds the prefix __Secure-.")
    return text


def parse_prefix(text: str) -> str:
    """Return a path without a slash at its end."""
    # Clients resolve the segments '.' and '..' before they send a path.
    if len(text) > 200 or not re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+/?", text):
        raise InvalidValue("Must be a path such as /example.")
    return text.rstrip("/")


def parse_redis_url(text: str) -> str:
    """Return the URL of a Redis server."""
    if not re.match(r"(rediss?|unix)://.", text):
        raise InvalidValue("Must start with redis://, rediss:// or unix://.")
    try:
        has_port = urlsplit(text).port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise InvalidValue(f"The port must be a number from 1 to {MAX_PORT}.")
    return text


def parse_rate_limit(text: str) -> str:
    """Return one limit in the notation of the `limits` library, such as "10 per 5 minutes"."""
    try:
        # The library would accept a list of limits, of which the service applies only the first.
        limit = None if ";" in text or "," in text else parse_limit(text)
    except ValueError:
        limit = None
    if limit and 1 <= limit.amount <= MAX_LIMIT_AMOUNT and 1 <= limit.get_expiry() <= MAX_LIMIT_SECONDS:
        return text
    raise InvalidValue(f"Must be a limit such as '10 per 5 minutes': at most {MAX_LIMIT_AMOUNT} in at most 31 days.")


def parse_bind(text: str) -> str:
    """Return an address to listen on."""
    match = re.fullmatch(r"unix:.+|(?:\[[0-9a-fA-F:.]+\]|[^:\s]*):([0-9]{1,5})", text)
    if not match or (match[1] and not 1 <= int(match[1]) <= MAX_PORT):
        raise InvalidValue(f"Must be HOST:PORT, with a port from 1 to {MAX_PORT}, or unix:PATH.")
    return text
