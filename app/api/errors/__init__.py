"""Problems as plain exceptions, and the one table that makes them HTTP (RFC 9457).

Owns every code, status and text an error answer may have. Must not import Flask: services raise these facts
anywhere, and the server answers with them before there is an application.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

REALM = "gatepost"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table: what a code means to a client and to a person."""

    status: int
    title: str
    detail: str
    # The `error` of RFC 6750 section 3.1 (RFC 9470 for freshness); "" is a challenge with no error code.
    challenge: str | None = None


KINDS: Mapping[str, Kind] = {
    "malformed_request": Kind(400, "Malformed request", "The request could not be parsed."),
    "authentication_required": Kind(
        401, "Authentication required", "Send an access token as 'Authorization: Bearer …'.", ""
    ),
    "token_expired": Kind(401, "Token expired", "The token has expired: refresh it or log in.", "invalid_token"),
    "token_invalid": Kind(401, "Token invalid", "The token is not one this service accepts.", "invalid_token"),
    "token_revoked": Kind(401, "Token revoked", "The session of this token has ended: log in again.", "invalid_token"),
    "fresh_token_required": Kind(
        401,
        "Fresh token required",
        "This action needs the access token of a login, not of a refresh: log in again.",
        "insufficient_user_authentication",
    ),
    "invalid_credentials": Kind(401, "Invalid credentials", "The email or the password is wrong.", ""),
    "forbidden": Kind(403, "Forbidden", "You may not do this."),
    "email_not_verified": Kind(403, "Email not verified", "Verify your email address first."),
    "not_found": Kind(404, "Not found", "There is no such resource."),
    "method_not_allowed": Kind(405, "Method not allowed", "The Allow header names the methods of this resource."),
    "not_acceptable": Kind(406, "Not acceptable", "Answers are application/json: the Accept header rules that out."),
    "request_timeout": Kind(408, "Request timeout", "The request did not arrive in time: send it again."),
    "email_taken": Kind(409, "Email taken", "An account with this email address exists."),
    "last_admin": Kind(
        409,
        "Last administrator",
        "The last active administrator can't be lost: make another one first.",
    ),
    "conflict": Kind(409, "Conflict", "The request conflicts with the present state of the resource."),
    "idempotency_in_progress": Kind(
        409,
        "Request in progress",
        "A request with this Idempotency-Key is still running: try again shortly.",
    ),
    "link_expired": Kind(410, "Link expired", "This link was used before, or is too old: ask for a new one."),
    "precondition_failed": Kind(
        412,
        "Precondition failed",
        "The resource has changed since it was read, or is not as the request demands.",
    ),
    "payload_too_large": Kind(413, "Payload too large", "The request body is larger than this service accepts."),
    "uri_too_long": Kind(414, "URI too long", "The request target is longer than this service accepts."),
    "unsupported_media_type": Kind(
        415,
        "Unsupported media type",
        "Send the body as application/json in UTF-8, without a content coding.",
    ),
    "validation_error": Kind(422, "Validation error", "The request has invalid fields."),
    "idempotency_key_reused": Kind(
        422,
        "Idempotency-Key reused",
        "This Idempotency-Key was used with another request: use a new one.",
    ),
    "rate_limited": Kind(429, "Too many requests", "Too many requests: wait as long as Retry-After says."),
    "headers_too_large": Kind(431, "Headers too large", "The request headers are larger than this service accepts."),
    "internal_error": Kind(500, "Internal error", "Something broke here. The request id identifies the report of it."),
    "maintenance": Kind(503, "Maintenance", "The service is being maintained: try again later."),
    "database_unavailable": Kind(503, "Database unavailable", "The database does not answer: try again shortly."),
    # nginx says these for a service that can't: nothing here raises them, but their pages are here.
    "bad_gateway": Kind(502, "Bad gateway", "The service is restarting or can't be reached: try again shortly."),
    "overloaded": Kind(503, "Overloaded", "The service has more requests than it can serve: try again shortly."),
    "gateway_timeout": Kind(
        504,
        "Gateway timeout",
        "The service did not answer in time. A write may or may not have been carried out.",
    ),
}


class Problem(Exception):
    """A refusal that a client is told about. A subclass names its row of KINDS in `code`.

    Raised, it rolls the transaction back. Returned by a view, it is the outcome of a transaction that commits.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.kind.detail
        super().__init__(self.detail)

    @property
    def kind(self) -> Kind:
        """The row of the table for this problem."""
        return KINDS[self.code]

    def headers(self) -> dict[str, str]:
        """The HTTP headers that belong to this problem beside those of every answer."""
        if self.kind.challenge is None:
            return {}
        return {"WWW-Authenticate": challenge(self.kind.challenge, self.detail)}

    def members(self) -> dict[str, Any]:
        """The extension members of the document (RFC 9457 section 3.2)."""
        return {}


def challenge(error: str, description: str) -> str:
    """Return a WWW-Authenticate value (RFC 6750 section 3); without an error code when `error` is empty."""
    if not error:
        return f'Bearer realm="{REALM}"'
    # The grammar of error_description has no quotes, backslashes or characters beyond ASCII.
    plain = "".join(c for c in description if " " <= c <= "~" and c not in '"\\')
    return f'Bearer realm="{REALM}", error="{error}", error_description="{plain}"'


def problem_document(problem: Problem, request_id: str, prefix: str = "") -> dict[str, Any]:
    """Return the body of a problem as RFC 9457 lays it out; `prefix` is SERVICE_PREFIX, for `type` to resolve."""
    return {
        "type": f"{prefix}/problems/{problem.code.replace('_', '-')}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.members(),
    }


class MalformedRequest(Problem):
    """The bytes are not a request this service can read."""

    code = "malformed_request"


class MalformedAuthorization(MalformedRequest):
    """The Authorization header has no credentials in it, or there are several."""

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": challenge("invalid_request", self.detail)}


class AuthenticationRequired(Problem):
    """No credentials came, or ones of another scheme."""

    code = "authentication_required"


class TokenExpired(Problem):
    """The token was ours, and its time is over."""

    code = "token_expired"


class TokenInvalid(Problem):
    """The token is not one we would have made."""

    code = "token_invalid"


class TokenRevoked(Problem):
    """The session behind the token has ended."""

    code = "token_revoked"


class FreshTokenRequired(Problem):
    """The action asks for a recent login."""

    code = "fresh_token_required"


class InvalidCredentials(Problem):
    """Login failed; which of its parts was wrong is not said."""

    code = "invalid_credentials"


class Forbidden(Problem):
    """The caller is known, and not allowed."""

    code = "forbidden"


class NotFound(Problem):
    """There is no such thing, or none this caller may know of."""

    code = "not_found"


class MethodNotAllowed(Problem):
    """The resource has other methods."""

    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        self.allowed = allowed
        super().__init__()

    def headers(self) -> dict[str, str]:
        return {"Allow": self.allowed}


class NotAcceptable(Problem):
    """The client takes no JSON."""

    code = "not_acceptable"


class RequestTimeout(Problem):
    """The client took too long to send its request (RFC 9110 section 15.5.9)."""

    code = "request_timeout"


class EmailTaken(Problem):
    """Another account has the address."""

    code = "email_taken"


class LastAdmin(Problem):
    """Nobody would be left to administer the service."""

    code = "last_admin"


class Conflict(Problem):
    """The present state of the data does not allow the change."""

    code = "conflict"


class IdempotencyInProgress(Problem):
    """The first request with this key has not answered yet."""

    code = "idempotency_in_progress"

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class IdempotencyKeyReused(Problem):
    """The key belongs to a request with another body."""

    code = "idempotency_key_reused"


class PreconditionFailed(Problem):
    """If-Match or If-None-Match does not hold."""

    code = "precondition_failed"


class PayloadTooLarge(Problem):
    """The body is over MAX_BODY_BYTES."""

    code = "payload_too_large"


class UriTooLong(Problem):
    """The request target is over the limit."""

    code = "uri_too_long"


class HeadersTooLarge(Problem):
    """The header fields are over the limit."""

    code = "headers_too_large"


class UnsupportedMediaType(Problem):
    """The body is not JSON in UTF-8."""

    code = "unsupported_media_type"

    def headers(self) -> dict[str, str]:
        # RFC 9110 section 15.5.16 lets a 415 name what would have been accepted.
        return {"Accept": "application/json", "Accept-Encoding": "identity"}


class ValidationFailed(Problem):
    """Some fields can't be taken. `errors` maps field names as sent to lists of texts, nested as sent."""

    code = "validation_error"

    def __init__(self, errors: Mapping[str, Any]) -> None:
        self.errors = dict(errors)
        count = len(self.errors)
        super().__init__(f"The request has {count} invalid field{'' if count == 1 else 's'}.")

    def members(self) -> dict[str, Any]:
        return {"errors": self.errors}


class RateLimited(Problem):
    """The caller has used up a limit; the window opens again in `retry_after_seconds`."""

    code = "rate_limited"

    def __init__(self, limit: int, remaining: int, retry_after_seconds: int) -> None:
        self.limit = limit
        self.remaining = remaining
        self.retry_after_seconds = retry_after_seconds
        super().__init__()

    def headers(self) -> dict[str, str]:
        return {
            "Retry-After": str(self.retry_after_seconds),
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.retry_after_seconds),
        }


class InternalError(Problem):
    """A bug of ours."""

    code = "internal_error"


class Unavailable(Problem):
    """The service can't answer now, and may soon."""

    retry_after_seconds: int = 1

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_seconds)}


class Maintenance(Unavailable):
    """The operator has closed the service for a while."""

    code = "maintenance"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Overloaded(Unavailable):
    """More requests wait than can be served in time."""

    code = "overloaded"


class DatabaseUnavailable(Unavailable):
    """The database refused, timed out, hung up or is locked; nothing was acknowledged."""

    code = "database_unavailable"
