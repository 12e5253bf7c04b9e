"""Flask-JWT-Extended held to the same rule as our own guards.

A feature may guard a view of its own with `@jwt_required()`: what it lets through, and what it answers to the rest,
is what every endpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Flask, request
from flask_jwt_extended import JWTManager

from app.errors import (
    AuthenticationRequired,
    FreshTokenRequired,
    Problem,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from app.guards import Caller, authenticate, bearer_token


def init_app(app: Flask) -> None:
    """Give the extension our judgement of tokens and our answers."""
    manager: JWTManager = app.extensions["flask-jwt-extended"]
    manager.user_lookup_loader(_find_caller)
    manager.expired_token_loader(_refuse(TokenExpired))
    manager.invalid_token_loader(_refuse(TokenInvalid))
    manager.revoked_token_loader(_refuse(TokenRevoked))
    manager.user_lookup_error_loader(_refuse(TokenRevoked))
    manager.token_verification_failed_loader(_refuse(TokenInvalid))
    manager.unauthorized_loader(_refuse(AuthenticationRequired))
    manager.needs_fresh_token_loader(_refuse(FreshTokenRequired))


def _find_caller(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Caller | None:
    """The user of a token that the extension has decoded, judged again in full by the one rule."""
    token = bearer_token()
    if token is None or request.endpoint is None:
        return None
    return authenticate(token)


def _refuse(problem: type[Problem]) -> Any:
    def refuse(*_: object) -> NoReturn:
        raise problem

    return refuse
