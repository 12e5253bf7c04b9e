"""Problems: every reason why a request is refused or fails, one exception class each (RFC 9457)."""

from __future__ import annotations

from app.api.errors.authentication import (
    AuthenticationRequired,
    EmailNotVerified,
    Forbidden,
    FreshTokenRequired,
    InvalidCredentials,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from app.api.errors.availability import (
    BadGateway,
    DatabaseUnavailable,
    GatewayTimeout,
    InternalError,
    Maintenance,
    Overloaded,
    RateLimited,
)
from app.api.errors.base import PROBLEMS, Problem, example_document, list_problems, problem_document, problem_path
from app.api.errors.requests import (
    HeadersTooLarge,
    MalformedAuthorization,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    PayloadTooLarge,
    UnsupportedMediaType,
    UriTooLong,
    ValidationFailed,
)
from app.api.errors.resources import (
    Conflict,
    EmailTaken,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    LastAdmin,
    LinkExpired,
    NotFound,
    PreconditionFailed,
)
