"""Schemathesis' hooks for Gatepost: how to sign in, and which rules of the service no JSON Schema can express.

Accounts are created directly in the database, because generated requests may delete or disable any account, including
the first administrator.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Any

import schemathesis
from flask import Flask
from schemathesis import AuthContext, Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.coverage import _schema as coverage_schema

from app import create_app
from app.auth import sessions
from app.auth.sessions import Client
from app.auth.tokens import make_access_token, make_refresh_token
from app.database import transaction
from app.security.passwords import hash_password
from app.users.schemas import HOW_TO_ALLOW, NO_MAIL
from app.users.service import create_user
from tests.fuzzing.plan import CALLER, PASSWORD

Tokens = dict[str, str]
# Patterns have no characters beyond U+FFFF, and some of these are invisible.
BLANK = "Must not be blank."
WEAKNESSES = {
    # Counted after normalization.
    "Must have at least 8 characters.",
    "Must have at most 128 characters.",
    BLANK,
    "This password is too common: choose another one.",
    "Must not be based on the name or the email of the account, or on the name of this service.",
}
# Refusals that depend on several values or on stored data, so that no schema can predict them. The keys are fields with
# their errors, or problem codes with their `detail`.
BEYOND_SCHEMAS = {
    "cursor": {"Not a cursor of this list with this sort and these filters."},
    "page": {"Give page or cursor, not both.", "Pages end at row 10000. Use cursors to read further."},
    "limit": {"Must be 1 to 20 with include=content."},
    "current_password": {"Is not your password.", "Must have at most 128 characters."},
    "new_password": {"Must differ from the current password.", *WEAKNESSES},
    "password": {"Is not your password.", *WEAKNESSES},
    "email": {"Not a valid email address.", NO_MAIL, f"{NO_MAIL} {HOW_TO_ALLOW}"},
    "q": {BLANK},
    "title": {BLANK},
    "name": {BLANK},
    "content": {BLANK},
    "idempotency_key_reused": {"This Idempotency-Key was used for a different request: use a new one."},
    "malformed_request": {
        "Send one token: in the Authorization header, in the body or as the cookie.",
        # Without a session Schemathesis generates tokens, and not every text is valid as one (RFC 6750).
        "The Authorization header does not contain exactly one bearer token.",
    },
}
LONGEST_DRAWN_TEXT = 64
_app: Flask | None = None
_hash = ""
_tokens: Tokens = {}

# Longer texts are built by simple repetition and then checked against their pattern. By default Schemathesis does this
# from 8,192 characters on. Generating shorter ones by character took half the time of a run and found nothing more.
_coverage_limits = vars(coverage_schema)
assert _coverage_limits["MAX_GENERATED_PATTERN_LENGTH"] > LONGEST_DRAWN_TEXT
_coverage_limits["MAX_GENERATED_PATTERN_LENGTH"] = LONGEST_DRAWN_TEXT


def sign_in(role: str) -> Tokens:
    """Create an account with a session, and return its tokens by the names of their security schemes."""
    global _app, _hash
    _app = _app or create_app()
    _hash = _hash or hash_password(PASSWORD)
    with _app.app_context():
        with transaction():
            user = create_user(f"{secrets.token_hex(8)}@example.com", "Fuzzy", _hash, role)
            grant = sessions.open_session(user.id, Client("127.0.0.1", "schemathesis"))
        return {
            "accessToken": make_access_token(grant, fresh=True),
            "refreshToken": make_refresh_token(grant, lifetime=timedelta(days=7)),
        }


class Credentials:
    """Adds the token that the operation requires to each request."""

    def get(self, case: Case[Any], context: AuthContext) -> Tokens:
        """Return the tokens of the current session, or of a new one if it has ended."""
        if not _tokens:
            _tokens.update(sign_in(os.environ[CALLER]))
        return _tokens

    def set(self, case: Case[Any], data: Tokens, context: AuthContext) -> None:
        """Set the Authorization header."""
        schemes = [name for item in case.operation.definition.raw.get("security", []) for name in item]
        if schemes:
            case.headers["Authorization"] = f"Bearer {data[schemes[0]]}"


if os.environ.get(CALLER, "anonymous") != "anonymous":
    schemathesis.auth(refresh_interval=None)(Credentials)


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Discard the tokens of a session that a request has ended, and of an account whose password has changed."""
    is_over = response.status_code == 401 and b'"token_revoked"' in (response.content or b"")
    if is_over or (response.status_code == 204 and case.path.endswith("/auth/password")):
        _tokens.clear()


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Insert the current password, keep maintenance mode off, and write integers without a decimal point.

    In maintenance mode, all further requests of the run would get 503. JSON Schema regards 1.0 as an integer, but the
    contract does not, and no schema can express that.
    """
    if not isinstance(body, dict):
        return body
    changes: dict[str, Any] = {
        name: int(value) for name, value in body.items() if isinstance(value, float) and value.is_integer()
    }
    if body.get("maintenance") is True:
        changes["maintenance"] = False
    if isinstance(body.get("current_password"), str) and len(body["current_password"]) % 2:
        changes["current_password"] = PASSWORD
    return {**body, **changes}


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Ignore the refusal of a valid request if it is one of BEYOND_SCHEMAS."""
    return not (isinstance(failure, RejectedPositiveData) and is_beyond_schemas(response))


def is_beyond_schemas(response: Response) -> bool:
    """Return whether all errors in a response are in BEYOND_SCHEMAS."""
    with suppress(ValueError):
        document = json.loads(response.content or b"")
        errors = document.get("errors") or {document["code"]: [document["detail"]]}
        return all(set(texts) <= BEYOND_SCHEMAS.get(name, set()) for name, texts in errors.items())
    return False
