"""Rules that involve several settings, and those that only production has. Must not import Flask."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

from app.security.key_files import InvalidKeyFile, find_rotation_files, read_key_file
from app.settings.environment import read_passwords

# The first version with RETURNING.
MIN_SQLITE = (3, 35)
MIN_DISTINCT_CHARACTERS = 10
MAKE_SECRET = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"  # noqa: S105  # a command
EXAMPLE_WORDS = (
    *("change", "example", "placeholder", "replace", "default", "insecure", "password", "gatepost", "your-", "your_"),
    *("secret-key", "secret_key", "secretkey", "string-secret", "super-secret", "supersecret", "for-the-tests"),
    # The key of RFC 7515, appendix A.1.
    "aym1sysppbydfgzld3umj1qzkobwvmko",
)
# The name of a variable, and what is wrong with it.
Problem = tuple[str, str]


def find_problems(values: Mapping[str, Any], invalid: Collection[str]) -> Iterator[Problem]:
    """Yield what is wrong with valid `values` together; `invalid` names the variables that could not be parsed.

    `values` are by field name, without those of invalid variables.
    """
    has_key = values.get("jwt_secret_key") or values.get("jwt_private_key_file")
    if not has_key and not {"JWT_SECRET_KEY", "JWT_PRIVATE_KEY_FILE"} & set(invalid):
        yield "JWT_SECRET_KEY", f"Missing. Make one with: {MAKE_SECRET}"
    if values.get("refresh_idle_days", 0) > values.get("refresh_absolute_days", math.inf):
        yield "REFRESH_IDLE_DAYS", "Must not exceed REFRESH_ABSOLUTE_DAYS."
    if values.get("bind", "").startswith("unix:") and values.get("trusted_proxies") == 0:
        # Without an address of their own all clients would share the limits, and one could use them up for the rest.
        yield "TRUSTED_PROXIES", "Must be at least 1 if BIND is a socket: only the proxy knows the clients' addresses."
    if values.get("database_url", "").startswith("sqlite") and sqlite3.sqlite_version_info < MIN_SQLITE:
        yield "DATABASE_URL", f"Requires SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}."
    if values.get("database_password_file") and (url := values.get("database_url")):
        if url.startswith("sqlite"):
            yield "DATABASE_PASSWORD_FILE", "Needs a PostgreSQL database in DATABASE_URL."
        elif make_url(url).password or "password" in make_url(url).query:
            yield "DATABASE_PASSWORD_FILE", "Cannot be set if DATABASE_URL contains a password."
    if values.get("cookie_samesite") == "none" and values.get("cookie_secure") is False:
        yield "COOKIE_SAMESITE", "Cannot be none with COOKIE_SECURE=false: browsers refuse such a cookie."
    if values.get("app_env") == "production":
        yield from _find_problems_in_production(values)


def _find_problems_in_production(values: Mapping[str, Any]) -> Iterator[Problem]:
    if values.get("cookie_secure") is False:
        yield "COOKIE_SECURE", "Must be true in production: the cookie would be sent unencrypted."
    if "*" in values.get("cors_origins", ()):
        yield "CORS_ORIGINS", "'*' is refused in production: list the origins."
    yield from _find_unsafe_key_files(values)
    yield from _find_weak_secrets(values)


def _find_unsafe_key_files(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the key files that other users of the machine can read or change, or that contain published keys."""
    signing = values.get("jwt_private_key_file")
    files = [("JWT_PRIVATE_KEY_FILE", path) for path in ((signing, *find_rotation_files(signing)) if signing else ())]
    files += [("JWT_VERIFICATION_KEY_FILES", path) for path in values.get("jwt_verification_key_files", ())]
    for name, path in files:
        try:
            read_key_file(path, is_strict=True)
        except InvalidKeyFile as error:
            yield name, f"{path} {error}"


def _find_weak_secrets(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the signing keys that are easy to guess, or that are used for something else too."""
    key, previous = values.get("jwt_secret_key"), values.get("jwt_previous_secret_keys", ())
    others = _find_other_secrets(values)
    for name, secret in [("JWT_SECRET_KEY", key), *(("JWT_PREVIOUS_SECRET_KEYS", secret) for secret in previous)]:
        if not secret:
            continue
        if any(word in secret.lower() for word in EXAMPLE_WORDS):
            yield name, "Looks like an example value."
        elif len(set(secret)) < MIN_DISTINCT_CHARACTERS:
            yield name, f"Must have at least {MIN_DISTINCT_CHARACTERS} different characters."
        if secret in others:
            yield name, f"Is also {others[secret]}."
    # With a private key JWT_SECRET_KEY verifies no tokens, so listing it here too is right during a change to that.
    if key and key in previous and not values.get("jwt_private_key_file"):
        yield "JWT_PREVIOUS_SECRET_KEYS", "Contains the current JWT_SECRET_KEY."
    if len(set(previous)) < len(previous):
        yield "JWT_PREVIOUS_SECRET_KEYS", "Contains a key twice."


def _find_other_secrets(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the other secrets that this process knows, each with its place."""
    database, redis = values.get("database_url"), values.get("redis_url")
    file = values.get("database_password_file")
    found: dict[str | None, str] = {
        **dict.fromkeys(read_passwords(Path(file)) if file else [], "a password in DATABASE_PASSWORD_FILE"),
        os.environ.get("SECRET_KEY"): "the value of SECRET_KEY",
        make_url(database).password if database else None: "the password in DATABASE_URL",
        unquote(urlsplit(redis).password or "") if redis else None: "the password in REDIS_URL",
    }
    return {secret: place for secret, place in found.items() if secret}
