"""Problems of credentials and permissions: 401 and 403."""

from __future__ import annotations

from app.api.errors.base import Problem


class AuthenticationRequired(Problem):
    """The route needs a token and the request has none, or it has credentials of a scheme other than Bearer."""

    code, status = "authentication_required", 401
    detail = "Send an access token as 'Authorization: Bearer …'."
    advice = "Send 'Authorization: Bearer' with the access token of a registration, a login or a refresh."
    challenge = ""


class TokenExpired(Problem):
    """The lifetime of the token is over: some minutes for an access token, some days for a refresh token."""

    code, status = "token_expired", 401
    detail = "The token has expired: refresh it or log in."
    advice = (
        "For an access token, refresh once and repeat the request with the new token. For a refresh token, ask the "
        "user to log in."
    )
    challenge = "invalid_token"


class TokenInvalid(Problem):
    """The token was not issued by this service, was altered, or has the wrong type, such as a refresh token in place of
    an access token.
    """

    code, status = "token_invalid", 401
    detail = "The token is not valid for this service."
    advice = "Discard the token and ask the user to log in. Check that the client does not mix tokens or environments."
    challenge = "invalid_token"


class TokenRevoked(Problem):
    """The session of the token has ended: by a logout, a change of the password, an administrator, or because an old
    refresh token was used again, which indicates that it was stolen.
    """

    code, status = "token_revoked", 401
    detail = "The session of this token has ended: log in again."
    advice = (
        "Discard both tokens and ask the user to log in. Make sure that the client refreshes once for concurrent "
        "requests and always stores the newest refresh token."
    )
    challenge = "invalid_token"


class FreshTokenRequired(Problem):
    """The action needs the access token of a login or a reauthentication, and that of the request is of a refresh."""

    code, status = "fresh_token_required", 401
    detail = "This action needs the access token of a login, not of a refresh: confirm the password first."
    advice = (
        "Ask the user for the password, send it to POST /auth/reauthenticate, and repeat the request with the access "
        "token of the response."
    )
    # RFC 9470 section 3.
    challenge = "insufficient_user_authentication"


class InvalidCredentials(Problem):
    """No active account has this email and this password. The response never says which of them is wrong."""

    code, status = "invalid_credentials", 401
    detail = "The email or the password is wrong."
    advice = "Let the user try again. After several failures the response is 429 for some minutes."
    challenge = ""


class Forbidden(Problem):
    """The token is valid, but the resource belongs to another user or the action is for administrators."""

    code, status = "forbidden", 403
    detail = "You do not have permission to do this."
    advice = "Do not repeat the request. Show only those actions that the role of the user allows."


class EmailNotVerified(Problem):
    """The action needs an account with a verified email address."""

    code, status = "email_not_verified", 403
    detail = "Verify your email address first."
    advice = "Ask the user to follow the link in the verification email."
