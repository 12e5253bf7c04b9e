"""What the tests of the auth routes share: tokens written by hand, and a session as the database has it."""

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
# What stands in for no string.
NOT_STRINGS: list[object] = [None, 1, 1.5, True, [], ["text"], {}]
# Bodies that are JSON and hold no object.
NOT_OBJECTS = ["[]", "[{}]", '"text"', "1", "true", "null"]


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token, on trust."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def encoded(value: object) -> str:
    """One part of a token: bytes as they are, all else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: object, payload: object, key: str = KEY) -> str:
    """A token with any header and payload at all: a library would refuse to write some of them."""
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
    """Sign a token again with claims changed or left out, and headers changed or, by None, left out."""
    claims = {k: v for k, v in (claims_of(token) | changes).items() if k not in without}
    named = jwt.get_unverified_header(token) | dict(headers or {})
    return sign({k: v for k, v in named.items() if v is not None}, claims, key)


def bearer(token: str) -> dict[str, str]:
    """The header that presents a token."""
    return {"Authorization": f"Bearer {token}"}


def get_me(client: FlaskClient, token: str) -> TestResponse:
    """Ask who the holder of a token is: the plainest route that asks for one."""
    return client.get(f"{API}/auth/me", headers=bearer(token))


def refresh(client: FlaskClient, token: str) -> TestResponse:
    """Exchange a refresh token."""
    return client.post(f"{API}/auth/refresh", headers=bearer(token))


def log_in(client: FlaskClient, email: str, password: str = PASSWORD, **options: Any) -> TestResponse:
    """Sign in."""
    body = {"email": email, "password": password}
    return client.post(f"{API}/auth/login", json=body, **options)


def session_row(app: Flask, session_id: int) -> Row[Any]:
    """A session as it is committed."""
    with app.app_context():
        row = fetch_one(select(*Session.__table__.columns).where(Session.id == session_id))
    assert row is not None
    return row


def set_column(app: Flask, person: Person, **values: Any) -> None:
    """Change the row of a user behind the application's back."""
    with app.app_context():
        db.session.execute(update(User).where(User.id == person.id).values(**values))
        db.session.commit()
