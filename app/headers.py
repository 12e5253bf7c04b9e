"""The headers that the application and the server below it must write alike. Must not import Flask."""

from __future__ import annotations

import re
import uuid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# What a script on an allowed origin may read beside the headers that CORS always shows.
EXPOSED_HEADERS = (
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Idempotency-Replayed",
)


def request_id_of(sent: str | None) -> str:
    """Return the caller's id for a request if it is fit for headers and logs, else a new one."""
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
