"""The routes for registration, login, tokens and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from app.api.access import ANY_TOKEN, ANYONE, REFRESH_TOKEN, SIGNED_IN, Caller, bearer_token
from app.api.client_info import client_address, client_user_agent
from app.api.errors import (
    AuthenticationRequired,
    EmailTaken,
    InvalidCredentials,
    MalformedAuthorization,
    NotFound,
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
from app.auth.credentials import delete_cookie_of, read_credential
from app.auth.service import SignIn
from app.auth.sessions import Client, Grant, Refusal
from app.auth.tokens import access_token_seconds, make_access_token, make_refresh_token, read_token
from app.components import utc_now
from app.users.schemas import PRIVATE_USER

auth = Api("auth", __name__, url_prefix="/auth")
BAD_TOKEN = (
    AuthenticationRequired,
    MalformedAuthorization,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
SETS_COOKIE = {"Set-Cookie": "The refresh token, if the cookie was asked for."}
DELETES_COOKIE = {"Set-Cookie": "Deletes the cookie, if it was sent and its session has ended."}


@auth.operation(
    "POST",
    "/register",
    access=ANYONE,
    body=schemas.Registration(),
    answer=created(schemas.TokenAnswer(), is_tagged=False, describes="The user and its tokens.", headers=SETS_COOKIE),
    problems=(EmailTaken, RateLimited),
)
def register(body: Mapping[str, Any]) -> Created:
    """Create an account and sign in."""
    sign_in = service.register(body["email"], body["name"], body["password"], _client())
    return Created(
        _sign_in_answer(sign_in, as_cookie=body["cookie"]), url_for("users.get_user", user_id=sign_in.user.id)
    )


@auth.operation(
    "POST",
    "/login",
    access=ANYONE,
    body=schemas.Login(),
    answer=ok(schemas.TokenAnswer(), headers=SETS_COOKIE),
    problems=(InvalidCredentials, RateLimited),
)
def log_in(body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Sign in with email and password. During maintenance, only administrators can."""
    outcome = service.log_in(body["email"], body["password"], _client())
    return outcome if isinstance(outcome, Problem) else _sign_in_answer(outcome, as_cookie=body["cookie"])


@auth.operation(
    "POST",
    "/refresh",
    access=REFRESH_TOKEN,
    body=schemas.Refresh(),
    body_required=False,
    answer=ok(schemas.RefreshedTokens(), headers=SETS_COOKIE),
    problems=(*BAD_TOKEN, RateLimited),
)
def refresh(body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Exchange a refresh token for a new pair.

    The old token leads to the same pair for a short time, and until the new pair was used. Later use ends the session.
    """
    credential = read_credential(body, "refresh")
    outcome = sessions.rotate(credential.claims)
    if isinstance(outcome, Refusal):
        if credential.is_cookie and outcome.is_over:
            cookies.delete_refresh_cookie()
        return outcome.problem
    # A token that arrived in the HttpOnly cookie is replaced in the cookie even when `cookie` is false, so that
    # JavaScript can never read it.
    return _token_answer(outcome, as_cookie=credential.is_cookie or body["cookie"])


@auth.operation(
    "POST",
    "/logout",
    access=ANY_TOKEN,
    body=schemas.RefreshToken(),
    body_required=False,
    answer=no_content(headers=DELETES_COOKIE),
    problems=BAD_TOKEN,
)
def log_out(body: Mapping[str, Any]) -> None:
    """End the session of an access or a refresh token."""
    credential = read_credential(body, "access", "refresh")
    claims = credential.claims
    if credential.is_cookie:
        cookies.delete_refresh_cookie()
    if not sessions.end_session(claims.user_id, claims.session_id, "logout", nonce=claims.nonce):
        raise TokenRevoked


@auth.operation("GET", "/me", access=SIGNED_IN, answer=ok(PRIVATE_USER))
def get_me(caller: Caller) -> Caller:
    """Read the signed-in user."""
    return caller


@auth.operation(
    "GET",
    "/sessions",
    access=SIGNED_IN,
    query=schemas.SessionListQuery(),
    answer=listing(schemas.SessionView()),
)
def list_sessions(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List the signed-in user's live sessions."""
    return sessions.list_sessions(caller, caller.id, query)


@auth.operation(
    "DELETE",
    "/sessions",
    access=SIGNED_IN,
    query=schemas.SessionEndQuery(),
    answer=no_content(headers=DELETES_COOKIE),
)
def end_sessions(caller: Caller, query: Mapping[str, Any]) -> None:
    """End the signed-in user's other sessions, and the current one if `include_current` is true."""
    sessions.end_sessions(caller.id, "ended", except_id=None if query["include_current"] else caller.session_id)
    if query["include_current"]:
        delete_cookie_of(caller.id)


@auth.operation(
    "DELETE",
    "/sessions/<id:session_id>",
    access=SIGNED_IN,
    answer=no_content(headers=DELETES_COOKIE),
    problems=(NotFound,),
)
def end_session(caller: Caller, session_id: int) -> None:
    """End one of the signed-in user's sessions."""
    if not sessions.end_session(caller.id, session_id, "ended"):
        raise NotFound
    delete_cookie_of(caller.id, session_id)


@auth.operation(
    "POST",
    "/password",
    access=SIGNED_IN,
    body=schemas.PasswordChange(),
    answer=no_content(),
    problems=(RateLimited,),
)
def change_password(caller: Caller, body: Mapping[str, Any]) -> Problem | None:
    """Change the signed-in user's password and end all other sessions."""
    return service.change_password(caller, body["current_password"], body["new_password"], _client())


@auth.operation(
    "POST",
    "/reauthenticate",
    access=SIGNED_IN,
    body=schemas.Reauthentication(),
    answer=ok(schemas.FreshToken(), describes="An access token of the same session that counts as fresh."),
    problems=(RateLimited,),
)
def reauthenticate(caller: Caller, body: Mapping[str, Any]) -> dict[str, Any] | Problem:
    """Get a fresh access token with the signed-in user's password. The session and its refresh token do not change."""
    problem = service.reauthenticate(caller, body["password"], _client())
    claims = read_token(bearer_token() or "", "access")
    return problem or _access_token_answer(make_access_token(claims, fresh=True))


def _client() -> Client:
    return Client(client_address(), client_user_agent())


def _sign_in_answer(sign_in: SignIn, *, as_cookie: bool) -> dict[str, Any]:
    if not as_cookie:
        # To a page that still has its CSRF token, the cookie of an earlier session would be a second credential.
        delete_cookie_of()
    return {"user": sign_in.user} | _token_answer(sign_in.grant, as_cookie=as_cookie)


def _token_answer(grant: Grant, *, as_cookie: bool) -> dict[str, Any]:
    lifetime = grant.idle_expires_at - utc_now()
    refresh_token = make_refresh_token(grant, lifetime=lifetime)
    answer = _access_token_answer(make_access_token(grant, fresh=grant.is_fresh))
    answer |= {"refresh_expires_in": round(lifetime.total_seconds())}
    if not as_cookie:
        return answer | {"refresh_token": refresh_token}
    cookies.set_refresh_cookie(refresh_token, lifetime=lifetime)
    return answer | {"csrf_token": cookies.make_csrf_token(grant)}


def _access_token_answer(access_token: str) -> dict[str, Any]:
    return {"access_token": access_token, "token_type": "Bearer", "expires_in": access_token_seconds()}
