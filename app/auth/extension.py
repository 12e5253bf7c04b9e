"""Flask-JWT-Extended held to the same rule as our own guards.

A feature may guard a view of its own with `@jwt_required()`: what it lets through, and what it answers to the rest,
is what every endpoint does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_jwt_extended import JWTManager

from app.api.access import Caller, bearer_token
from app.api.endpoint import Endpoint
from app.api.errors import AuthenticationRequired, FreshTokenRequired, Problem, TokenExpired, TokenInvalid, TokenRevoked
from app.api.errors.handlers import respond
from app.auth import sessions
from app.auth.tokens import read_token, validate_claims
from app.database import transaction
from app.security.signing_keys import key_of

# The extension takes 'Basic x, Bearer y', refuses 'bearer y' and breaks on ',, ,': it is shown another header, in which
# we put the token as our guards have read it.
HEADER = "X-Gatepost-Bearer"
_HEADER_KEY = "HTTP_X_GATEPOST_BEARER"
# No token has a space in it, so this is refused even where a token is optional.
_REFUSED = "not one"


class Manager(JWTManager):
    """The extension's manager, with the one rule of tokens in front of its own, which is laxer."""

    def _decode_jwt_from_config(
        self, encoded_token: str, csrf_value: Any = None, allow_expired: bool = False
    ) -> dict[str, Any]:
        try:
            read_token(encoded_token, "access", "refresh")
        except TokenExpired:
            if not allow_expired:
                raise
        claims: dict[str, Any] = super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)
        return claims


def init_app(app: Flask) -> None:
    """Give the extension our judgement of tokens and our answers."""
    app.config.update(JWT_HEADER_NAME=HEADER, JWT_HEADER_TYPE="")
    manager = Manager(app)
    manager.decode_key_loader(lambda header, claims: key_of(header).verifier)
    manager.user_lookup_loader(_find_caller)
    manager.invalid_token_loader(_refuse_header_or_token)
    manager.needs_fresh_token_loader(_refuse_stale)
    manager.expired_token_loader(_refuse(TokenExpired))
    manager.revoked_token_loader(_refuse(TokenRevoked))
    manager.user_lookup_error_loader(_refuse(TokenRevoked))
    manager.token_verification_failed_loader(_refuse(TokenInvalid))
    manager.unauthorized_loader(_refuse(AuthenticationRequired))


def show_token() -> None:
    """Show the extension the bearer token of a request to a view that is not one of our endpoints."""
    environ = request.environ
    environ.pop(_HEADER_KEY, None)
    if "HTTP_AUTHORIZATION" not in environ or isinstance(_view(), Endpoint):
        return
    try:
        environ[_HEADER_KEY] = bearer_token()
    except Problem:
        environ[_HEADER_KEY] = _REFUSED


def _view() -> object:
    return current_app.view_functions.get(request.endpoint or "")


def _find_caller(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Caller:
    """The user of a token that the extension has decoded, as the database knows user and session at this moment."""
    judged = validate_claims(claims, claims["type"])
    if judged.type == "refresh":
        with transaction():
            outcome = sessions.validate_generation(judged)
        if outcome is not None:
            raise outcome
    caller = g.caller = sessions.find_caller(judged)
    return caller


# The extension calls these in its error handlers, where an exception would end as a 500: they answer, never raise.


def _refuse(problem: type[Problem]) -> Callable[..., Response]:
    return lambda *_: respond(problem())


def _refuse_header_or_token(text: str) -> Response:
    try:
        bearer_token()
    except Problem as problem:
        return respond(problem)
    return respond(TokenInvalid())


def _refuse_stale(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Response:
    # Revocation is told before freshness, as by our guards: a new login is what helps in both cases.
    try:
        _find_caller(header, claims)
    except Problem as problem:
        return respond(problem)
    return respond(FreshTokenRequired())
