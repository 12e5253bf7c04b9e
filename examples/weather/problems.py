"""The problem of a service that this one depends on."""

from __future__ import annotations

from app.api.errors import Problem
from app.api.errors.base import WAIT


class UpstreamUnavailable(Problem):
    """The weather service does not respond as it should, and no earlier observation may be shown."""

    code, status = "upstream_unavailable", 503
    detail = "The weather service does not respond."
    advice = WAIT
    retry_after_seconds = 2
