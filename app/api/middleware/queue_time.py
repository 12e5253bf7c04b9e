"""Refuses requests that have waited too long between the proxy and the application.

A request that waited longer than its client is likely to wait is work without a use. Refusing it at once lets an
overloaded service catch up, and answer newer requests in time. The proxy sends the time at which it received the
request as `X-Request-Start: t=1699999999.123`.
"""

from __future__ import annotations

import re

from flask import request

from app.api.errors import Overloaded
from app.components import utc_now
from app.observability import metrics

# A longer wait is not plausible, because proxies give up much earlier. It indicates that a clock is wrong, and then
# the header is ignored, as it is if the time lies in the future: a wrong clock must not refuse every request.
MAX_PLAUSIBLE_SECONDS = 3600
# nginx gives a request with one of these methods to another replica when one has not responded within
# NGINX_APP_TIMEOUT, by default four times MAX_QUEUE_MS, and sends the time of the first attempt again. Such a request
# has not waited in a queue. nginx sends a PUT with a precondition and a DELETE only once ($is_sent_once in nginx.conf).
RETRIED_METHODS = frozenset({"GET", "HEAD", "PUT"})
RETRY_FACTOR = 4
# Seconds (nginx's $msec), milliseconds or microseconds since the epoch. From 2001 to 2286 the digits tell which.
_START = re.compile(r"(?:t=)?(([0-9]{10})|([0-9]{13})|[0-9]{16})(\.[0-9]{1,9})?")


def find_queue_seconds(header: str, now: float) -> float | None:
    """Return how long a request has waited, in seconds, given its X-Request-Start and the time since the epoch.

    Returns None for a header that is not a time, or not a plausible one.
    """
    match = _START.fullmatch(header.strip())
    if match is None:
        return None
    units_per_second = 1 if match[2] else 1_000 if match[3] else 1_000_000
    seconds = now - float(match[1] + (match[4] or "")) / units_per_second
    return seconds if 0 <= seconds <= MAX_PLAUSIBLE_SECONDS else None


def require_short_queue_time(max_queue_ms: int) -> None:
    """Raise Overloaded, and count it, if the current request has waited for longer than `max_queue_ms`.

    A request that nginx retries and that seems to have waited for more than RETRY_FACTOR times as long is such a retry,
    and is not refused.
    """
    header = request.environ.get("HTTP_X_REQUEST_START")
    if header is None:
        return
    seconds = find_queue_seconds(header, utc_now().timestamp())
    if seconds is None or seconds * 1000 <= max_queue_ms:
        return
    if seconds * 1000 <= RETRY_FACTOR * max_queue_ms or not _is_retried():
        metrics.SHED.inc()
        raise Overloaded


def _is_retried() -> bool:
    has_condition = "HTTP_IF_MATCH" in request.environ or "HTTP_IF_NONE_MATCH" in request.environ
    return request.method in RETRIED_METHODS and not (request.method == "PUT" and has_condition)
