"""Flask-JWT-Extended with this application's token validation and error responses.

A plain Flask view, which is no endpoint of app/api, can be protected with `@jwt_required()`: it accepts the same tokens
as an endpoint's access policy, and answers with the same problem documents.
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
from app.security.signing_keys import get_verification_key

# The extension accepts 'Basic x, Bearer y', rejects 'bearer y' and raises IndexError for ',, ,'. So it reads the token
# from this header instead, which only pass_bearer_token() sets.
HEADER = "X-Gatepost-Bearer"
_HEADER_KEY = "HTTP_X_GATEPOST_BEARER"
# For an Authorization header without a bearer token: has a space, so it is invalid also where a token is optional.
_INVALID = "no token"


class Manager(JWTManager):
    """The extension's manager, which validates tokens with `read_token` before its own, less strict checks.

    The extension has no public hook that receives the encoded token, which `read_token` needs: duplicate names in the
    JSON and other spellings of the signature are not visible in the decoded claims. So this overrides one private
    method. test_the_extension_calls_our_validation fails if a new version of the extension no longer calls it.
    """

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
    """Register the extension with our keys, our user lookup and our error responses."""
    app.config.update(JWT_HEADER_NAME=HEADER, JWT_HEADER_TYPE="")
    manager = Manager(app)
    manager.decode_key_loader(lambda header, claims: get_verification_key(header).verifier)
    manager.user_lookup_loader(_find_caller)
    manager.invalid_token_loader(_respond_to_invalid)
    manager.needs_fresh_token_loader(_respond_to_stale)
    manager.expired_token_loader(_responder(TokenExpired))
    manager.revoked_token_loader(_responder(TokenRevoked))
    manager.user_lookup_error_loader(_responder(TokenRevoked))
    manager.token_verification_failed_loader(_responder(TokenInvalid))
    manager.unauthorized_loader(_responder(AuthenticationRequired))


def pass_bearer_token() -> None:
    """Pass the request's bearer token to the extension, unless the view is one of our endpoints."""
    environ = request.environ
    environ.pop(_HEADER_KEY, None)
    view = current_app.view_functions.get(request.endpoint or "")
    if "HTTP_AUTHORIZATION" not in environ or isinstance(view, Endpoint):
        return
    try:
        token = bearer_token()
    except Problem:
        token = _INVALID
    if token is not None:
        environ[_HEADER_KEY] = token


def _find_caller(header: Mapping[str, Any], decoded: Mapping[str, Any]) -> Caller:
    """Return the user of a decoded token from the database. Raises TokenRevoked if its session has ended."""
    claims = validate_claims(decoded, decoded["type"])
    if claims.type == "refresh":
        with transaction():
            outcome = sessions.validate_generation(claims)
        if outcome is not None:
            raise outcome
    caller = g.caller = sessions.find_caller(claims)
    return caller


# The extension calls these from its error handlers, where an exception would become a 500, so they return responses.


def _responder(problem: type[Problem]) -> Callable[..., Response]:
    return lambda *_: respond(problem())


def _respond_to_invalid(text: str) -> Response:
    try:
        bearer_token()
    except Problem as problem:
        return respond(problem)
    return respond(TokenInvalid())


def _respond_to_stale(header: Mapping[str, Any], decoded: Mapping[str, Any]) -> Response:
    # A revoked token is reported as revoked even if it is not fresh, as an access policy does.
    try:
        _find_caller(header, decoded)
    except Problem as problem:
        return respond(problem)
    return respond(FreshTokenRequired())
