"""Problems of the service itself: rate limits, overload, maintenance, outages and bugs."""

from __future__ import annotations

from app.api.errors.base import NOT_DONE, WAIT, Problem


class RateLimited(Problem):
    """The caller has used up a rate limit, whose window ends in `retry_after_seconds`."""

    code, status = "rate_limited", 429
    title = "Too many requests"
    detail = "Too many requests."
    when = "Too many requests came from one address, or too many logins failed for one account."
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
    """An exception that the service does not handle."""

    code, status = "internal_error", 500
    title = "Internal error"
    detail = "An internal error occurred. The request id identifies its log entry."
    when = "The request caused an error in the service. The log has an entry with the request id."
    advice = "Do not repeat the request in a loop. Report the request id to the operator of the service."


class BadGateway(Problem):
    """The proxy cannot connect to the application. Only nginx sends this problem."""

    code, status = "bad_gateway", 502
    title = "Bad gateway"
    detail = "The service is restarting or cannot be reached: try again shortly."
    when = "The proxy could not connect to the service, usually because the service is restarting."
    advice = "Send the request again after a few seconds, with an Idempotency-Key if it creates a resource."


class Maintenance(Problem):
    """An administrator has switched maintenance mode on; `detail` is the administrator's message, if there is one."""

    code, status = "maintenance", 503
    title = "Maintenance"
    detail = "The service is under maintenance."
    when = "An administrator has closed the service for maintenance; 'detail' may give the reason."
    advice = f"{NOT_DONE} {WAIT}"
    retry_after_seconds = 300


class Overloaded(Problem):
    """The service receives more requests than it can process in time."""

    code, status = "overloaded", 503
    title = "Overloaded"
    detail = "The service is overloaded."
    when = "More requests are waiting than the service can process in time. The request was refused at once."
    advice = f"{NOT_DONE} {WAIT} Increase the delay with each further attempt."
    retry_after_seconds = 1


class DatabaseUnavailable(Problem):
    """The database refused the connection, did not respond in time, closed the connection or is locked."""

    code, status = "database_unavailable", 503
    title = "Database unavailable"
    detail = "The database does not respond."
    when = "The service is running, but its database does not respond, or not in time."
    advice = f"{WAIT} Create resources with an Idempotency-Key, so that a repeated request creates nothing twice."
    retry_after_seconds = 1


class GatewayTimeout(Problem):
    """The application did not answer the proxy in time. Only nginx sends this problem."""

    code, status = "gateway_timeout", 504
    title = "Gateway timeout"
    detail = "The service did not respond in time. A write may or may not have been carried out."
    when = "The proxy received no response from the service in time. The service may have carried out the request."
    advice = "Read the resource before you repeat a change. Creations with an Idempotency-Key are safe to repeat."
