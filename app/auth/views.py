"""The auth routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from app.api.access import ANY_TOKEN, ANYONE, REFRESH_TOKEN, SIGNED_IN, Caller
from app.api.client_info import client_address, client_user_agent
from app.api.conditional import require_untagged
from app.api.errors import (
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
from app.api.pagination import Page
from app.api.responses import Created, created, listing, no_content, ok
from app.api.routing import Api
from app.auth import cookies, schemas, service, sessions
from app.auth.credentials import forget_cookie, read_credential
from app.auth.service import SignIn
from app.auth.sessions import Client, Grant
from app.auth.tokens import access_token_seconds, make_access_token, make_refresh_token
from app.clock import utc_now
from app.users.schemas import PRIVATE_USER

auth = Api("auth", __name__)
BAD_TOKEN = (
    AuthenticationRequired,
    MalformedAuthorization,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
SETS_COOKIE = {"Set-Cookie": "The refresh token, where it comes as the cookie."}
DROPS_COOKIE = {"Set-Cookie": "Takes the cookie back, if one came whose session has ended."}


@auth.operation(
    "POST",
    "/register",
    access=ANYONE,
    body=schemas.Registration(),
    answer=created(schemas.TokenAnswer(), is_tagged=False, describes="The new user, signed in.", headers=SETS_COOKIE),
    problems=(EmailTaken, RateLimited),
)
def register(body: Mapping[str, Any]) -> Created:
    """Make an account and sign in."""
    sign_in = service.register(body["email"], body["name"], body["password"], _client())
    return Created(_signed_in(sign_in, as_cookie=body["cookie"]), url_for("users.get_user", user_id=sign_in.user.id))


@auth.operation(
    "POST",
    "/login",
    access=ANYONE,
    body=schemas.Login(),
    answer=ok(schemas.TokenAnswer(), headers=SETS_COOKIE),
    problems=(InvalidCredentials, RateLimited),
)
def log_in(body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Sign in with email and password; while the service is being maintained, administrators alone can."""
    outcome = service.log_in(body["email"], body["password"], _client())
    return outcome if isinstance(outcome, Problem) else _signed_in(outcome, as_cookie=body["cookie"])


@auth.operation(
    "POST",
    "/refresh",
    access=REFRESH_TOKEN,
    body=schemas.Refresh(),
    body_required=False,
    answer=ok(schemas.RefreshedTokens(), headers=SETS_COOKIE),
    problems=BAD_TOKEN,
)
def refresh(body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Exchange a refresh token for a new pair. The old one stays good for a moment; used later it ends the session."""
    credential = read_credential(body, "refresh")
    outcome = sessions.rotate(credential.claims)
    if isinstance(outcome, Problem):
        if credential.is_cookie:
            cookies.drop()
        return outcome
    # What came out of a script's reach stays there, whatever the script asks for.
    return _tokens(outcome, as_cookie=credential.is_cookie or body["cookie"])


@auth.operation(
    "POST",
    "/logout",
    access=ANY_TOKEN,
    body=schemas.RefreshToken(),
    body_required=False,
    answer=no_content(headers=DROPS_COOKIE),
    problems=BAD_TOKEN,
)
def log_out(body: Mapping[str, Any]) -> None:
    """End the session of an access or a refresh token."""
    credential = read_credential(body, "access", "refresh")
    claims = credential.claims
    if credential.is_cookie:
        cookies.drop()
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
    answer=no_content(headers=DROPS_COOKIE),
    problems=(PreconditionFailed,),
)
def end_sessions(caller: Caller, query: Mapping[str, Any]) -> None:
    """End one's other sessions, and the current one too on demand."""
    require_untagged()
    sessions.end_sessions(caller.id, "ended", but=None if query["include_current"] else caller.session_id)
    if query["include_current"]:
        forget_cookie(caller.id)


@auth.operation(
    "DELETE",
    "/sessions/<id:session_id>",
    access=SIGNED_IN,
    answer=no_content(headers=DROPS_COOKIE),
    problems=(NotFound, PreconditionFailed),
)
def end_session(caller: Caller, session_id: int) -> None:
    """End one of one's sessions."""
    require_untagged()
    if not sessions.end_session(caller.id, session_id, "ended"):
        raise NotFound
    forget_cookie(caller.id, session_id)


@auth.operation(
    "POST",
    "/password",
    access=SIGNED_IN,
    body=schemas.PasswordChange(),
    answer=no_content(),
    problems=(RateLimited,),
)
def change_password(caller: Caller, body: Mapping[str, Any]) -> Problem | None:
    """Change one's password, and end one's other sessions."""
    return service.change_password(caller, body["current_password"], body["new_password"], _client())


def _client() -> Client:
    return Client(client_address(), client_user_agent())


def _signed_in(sign_in: SignIn, *, as_cookie: bool) -> dict[str, Any]:
    if not as_cookie and cookies.cookie_values():
        # A cookie of an earlier session would come along with each refresh, as a second credential.
        cookies.drop()
    return {"user": sign_in.user} | _tokens(sign_in.grant, as_cookie=as_cookie)


def _tokens(grant: Grant, *, as_cookie: bool) -> dict[str, Any]:
    lives = grant.idle_expires_at - utc_now()
    refresh_token = make_refresh_token(grant.user_id, grant.session_id, grant.generation, lives=lives)
    answer = {
        "access_token": make_access_token(grant.user_id, grant.session_id, fresh=grant.is_fresh),
        "token_type": "Bearer",
        "expires_in": access_token_seconds(),
        "refresh_expires_in": round(lives.total_seconds()),
    }
    if not as_cookie:
        return answer | {"refresh_token": refresh_token}
    cookies.put(refresh_token, lives=lives)
    return answer | {"csrf_token": cookies.make_csrf_token(grant.user_id, grant.session_id)}
