"""The auth routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request, url_for

from app.auth import schemas, service, sessions
from app.auth.service import SignIn
from app.auth.sessions import Client, Grant
from app.auth.tokens import access_token_seconds, make_access_token, make_refresh_token, read_token
from app.clock import utc_now
from app.errors import (
    AuthenticationRequired,
    EmailTaken,
    InvalidCredentials,
    MalformedAuthorization,
    NotFound,
    PreconditionFailed,
    Problem,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from app.guards import ANY_TOKEN, ANYONE, REFRESH_TOKEN, SIGNED_IN, Caller, bearer_token
from app.http import Api, Created, created, listing, no_content, ok, require_untagged
from app.pagination import Page
from app.users.schemas import PRIVATE_USER

auth = Api("auth", __name__)
USER_AGENT_LENGTH = 255
ADDRESS_LENGTH = 45
BAD_TOKEN = (
    AuthenticationRequired,
    MalformedAuthorization,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)


@auth.operation(
    "POST",
    "/register",
    access=ANYONE,
    body=schemas.Registration(),
    answer=created(schemas.TokenAnswer(), is_tagged=False, describes="The new user, signed in."),
    problems=(EmailTaken, RateLimited),
)
def register(body: Mapping[str, Any]) -> Created:
    """Make an account and sign in."""
    sign_in = service.register(body["email"], body["name"], body["password"], _client())
    return Created(_signed_in(sign_in), url_for("users.get_user", user_id=sign_in.user.id))


@auth.operation(
    "POST",
    "/login",
    access=ANYONE,
    body=schemas.Login(),
    answer=ok(schemas.TokenAnswer()),
    problems=(InvalidCredentials, RateLimited),
)
def log_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Sign in with email and password; while the service is being maintained, administrators alone can."""
    return _signed_in(service.log_in(body["email"], body["password"], _client()))


@auth.operation(
    "POST",
    "/refresh",
    access=REFRESH_TOKEN,
    body=schemas.RefreshToken(),
    body_required=False,
    answer=ok(schemas.RefreshedTokens()),
    problems=BAD_TOKEN,
)
def refresh(body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Exchange a refresh token for a new pair. The old one stays good for a moment; used later it ends the session."""
    outcome = sessions.rotate(read_token(_presented_token(body), "refresh"))
    return outcome if isinstance(outcome, Problem) else _tokens(outcome)


@auth.operation(
    "POST",
    "/logout",
    access=ANY_TOKEN,
    body=schemas.RefreshToken(),
    body_required=False,
    answer=no_content(),
    problems=BAD_TOKEN,
)
def log_out(body: Mapping[str, Any]) -> None:
    """End the session of an access or a refresh token."""
    claims = read_token(_presented_token(body), "access", "refresh")
    if not sessions.end_session(claims.user_id, claims.session_id, "logout"):
        raise TokenRevoked


@auth.operation("GET", "/me", access=SIGNED_IN, answer=ok(PRIVATE_USER))
def get_me(caller: Caller) -> Caller:
    """Read oneself."""
    return caller


@auth.operation(
    "GET",
    "/sessions",
    access=SIGNED_IN,
    query=schemas.SessionListQuery(),
    answer=listing(schemas.SessionView()),
)
def list_sessions(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List one's live sessions."""
    return sessions.list_sessions(caller, query)


@auth.operation(
    "DELETE",
    "/sessions",
    access=SIGNED_IN,
    query=schemas.SessionEndQuery(),
    answer=no_content(),
    problems=(PreconditionFailed,),
)
def end_sessions(caller: Caller, query: Mapping[str, Any]) -> None:
    """End one's other sessions, and the current one too on demand."""
    require_untagged()
    sessions.end_sessions(caller.id, "ended", but=None if query["include_current"] else caller.session_id)


@auth.operation(
    "DELETE",
    "/sessions/<id:session_id>",
    access=SIGNED_IN,
    answer=no_content(),
    problems=(NotFound, PreconditionFailed),
)
def end_session(caller: Caller, session_id: int) -> None:
    """End one of one's sessions."""
    require_untagged()
    if not sessions.end_session(caller.id, session_id, "ended"):
        raise NotFound


@auth.operation(
    "POST",
    "/password",
    access=SIGNED_IN,
    body=schemas.PasswordChange(),
    answer=no_content(),
    problems=(RateLimited,),
)
def change_password(caller: Caller, body: Mapping[str, Any]) -> None:
    """Change one's password, and end one's other sessions."""
    service.change_password(caller, body["current_password"], body["new_password"], _client())


def _presented_token(body: Mapping[str, Any]) -> str:
    """Return the one token of the request. Raises AuthenticationRequired for none, MalformedAuthorization for two."""
    header, member = bearer_token(), body.get("refresh_token")
    if header is not None and member is not None:
        raise MalformedAuthorization("Send the token in the Authorization header or in the body, not in both.")
    token = header or member
    if token is None:
        raise AuthenticationRequired
    return str(token)


def _client() -> Client:
    # A proxy may pass on an address that is none.
    ip = _printable(request.remote_addr or "", ADDRESS_LENGTH)
    return Client(ip, _printable(request.headers.get("User-Agent", ""), USER_AGENT_LENGTH))


def _printable(text: str, length: int) -> str:
    return "".join(c for c in text if c.isprintable())[:length]


def _signed_in(sign_in: SignIn) -> dict[str, Any]:
    return {"user": sign_in.user} | _tokens(sign_in.grant)


def _tokens(grant: Grant) -> dict[str, Any]:
    lives = grant.idle_expires_at - utc_now()
    return {
        "access_token": make_access_token(grant.user_id, grant.session_id, fresh=grant.is_fresh),
        "refresh_token": make_refresh_token(grant.user_id, grant.session_id, grant.generation, lives=lives),
        "token_type": "Bearer",
        "expires_in": access_token_seconds(),
        "refresh_expires_in": round(lives.total_seconds()),
    }
