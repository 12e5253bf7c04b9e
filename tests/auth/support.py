"""Helpers for the tests of the auth routes: hand-written tokens, requests, and rows of the database."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Collection, Mapping
from typing import Any

import jwt
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Row, select, update
from werkzeug.test import TestResponse

from app.auth.models import Session
from app.database import db, fetch_one
from app.users.models import User
from tests.conftest import API, PASSWORD, Person

KEY = "a-key-for-the-tests-alone-0123456789"
# JSON values that are not strings.
NOT_STRINGS: list[object] = [None, 1, 1.5, True, [], ["text"], {}]
# JSON bodies that are not objects.
NOT_OBJECTS = ["[]", "[{}]", '"text"', "1", "true", "null"]


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying it."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def encoded(value: object) -> str:
    """Return one part of a token in base64url: bytes unchanged, other values as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: object, payload: object, key: str = KEY) -> str:
    """Return a signed token with any header and payload, including those that a library refuses to encode."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.digest(key.encode(), text.encode(), 'sha256'))}"


def reissue(
    token: str,
    *,
    without: Collection[str] = (),
    headers: Mapping[str, Any] | None = None,
    key: str = KEY,
    **changes: Any,
) -> str:
    """Sign a token again with claims changed or removed, and headers changed or, if None, removed."""
    claims = {k: v for k, v in (claims_of(token) | changes).items() if k not in without}
    named = jwt.get_unverified_header(token) | dict(headers or {})
    return sign({k: v for k, v in named.items() if v is not None}, claims, key)


def bearer(token: str) -> dict[str, str]:
    """Return the Authorization header for a token."""
    return {"Authorization": f"Bearer {token}"}


def get_me(client: FlaskClient, token: str) -> TestResponse:
    """Call GET /auth/me, the simplest route that requires an access token."""
    return client.get(f"{API}/auth/me", headers=bearer(token))


def refresh(client: FlaskClient, token: str) -> TestResponse:
    """Call POST /auth/refresh with a bearer token."""
    return client.post(f"{API}/auth/refresh", headers=bearer(token))


def log_in(client: FlaskClient, email: str, password: str = PASSWORD, **options: Any) -> TestResponse:
    """Call POST /auth/login."""
    body = {"email": email, "password": password}
    return client.post(f"{API}/auth/login", json=body, **options)


def session_row(app: Flask, session_id: int) -> Row[Any]:
    """Return the committed row of a session."""
    with app.app_context():
        row = fetch_one(select(*Session.__table__.columns).where(Session.id == session_id))
    assert row is not None
    return row


def set_column(app: Flask, person: Person, **values: Any) -> None:
    """Update the row of a user directly in the database."""
    with app.app_context():
        db.session.execute(update(User).where(User.id == person.id).values(**values))
        db.session.commit()
