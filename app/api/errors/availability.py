"""Problems of the service itself: rate limits, overload, maintenance, outages and bugs.

Only nginx sends BadGateway and GatewayTimeout.
"""

from __future__ import annotations

from app.api.errors.base import NOT_DONE, WAIT, Problem


class RateLimited(Problem):
    """Too many requests came from one address, or too many logins failed for one account."""

    code, status = "rate_limited", 429
    title = "Too many requests"
    detail = "Too many requests."
    advice = f"{WAIT} The X-RateLimit-Remaining header shows how many requests are left."
    retry_after_seconds = 40

    def __init__(self, limit: int, remaining: int, retry_after_seconds: int) -> None:
        self.limit = limit
        self.remaining = remaining
        super().__init__(None, retry_after_seconds)

    def headers(self) -> dict[str, str]:
        return super().headers() | {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.retry_after_seconds),
        }


class InternalError(Problem):
    """The request caused an error in the service. The log has an entry with the request id."""

    code, status = "internal_error", 500
    detail = "An internal error occurred. The request id identifies its log entry."
    advice = "Do not repeat the request in a loop. Report the request id to the operator of the service."


class BadGateway(Problem):
    """The proxy could not connect to the service, or the service closed the connection before it responded, usually
    because it is restarting.
    """

    code, status = "bad_gateway", 502
    detail = "The service is restarting or cannot be reached. A write may or may not have been carried out."
    advice = (
        "Send a read, or a creation with an Idempotency-Key, again after a few seconds. Read the resource before you "
        "repeat another change."
    )


class Maintenance(Problem):
    """An administrator has closed the service for maintenance; 'detail' may give the reason."""

    code, status = "maintenance", 503
    detail = "The service is under maintenance."
    advice = f"{NOT_DONE} {WAIT}"
    retry_after_seconds = 300


class Overloaded(Problem):
    """More requests are waiting than the service can process in time. The request was refused at once."""

    code, status = "overloaded", 503
    detail = "The service is overloaded."
    advice = f"{NOT_DONE} {WAIT} Increase the delay with each further attempt."
    retry_after_seconds = 1


class DatabaseUnavailable(Problem):
    """The service is running, but its database does not respond in time, or does not take requests as it should."""

    code, status = "database_unavailable", 503
    detail = "The database does not respond."
    advice = f"{WAIT} Create resources with an Idempotency-Key, so that a repeated request creates nothing twice."
    retry_after_seconds = 1


class GatewayTimeout(Problem):
    """The proxy received no response from the service in time. The service may have carried out the request."""

    code, status = "gateway_timeout", 504
    detail = "The service did not respond in time. A write may or may not have been carried out."
    advice = "Read the resource before you repeat a change. Creations with an Idempotency-Key are safe to repeat."
