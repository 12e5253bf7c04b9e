"""The routes /health, /health/ready and /metrics."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from app.api.access import ANYONE
from app.api.responses import written
from app.api.routing import Api
from app.observability import health as checks
from app.observability import instrumentation, metrics
from app.observability.schemas import HEALTH, READINESS

health = Api("health", __name__)


@health.operation("GET", "/health", access=ANYONE, answer=written(HEALTH))
def get_health() -> Response:
    """Check that the process answers. Accesses neither the database nor Redis."""
    return _json({"status": "healthy"}, 200)


@health.operation("GET", "/health/ready", access=ANYONE, answer=written(READINESS, also=(503,)))
def get_readiness() -> Response:
    """Check whether this replica can serve requests. The status is 200, or 503 with the same members."""
    found = checks.check_readiness()
    return _json(found, 200 if found["status"] == "ready" else 503)


@health.operation(
    "GET", "/metrics", access=ANYONE, answer=written(media_type="text/plain", describes="Prometheus' text format.")
)
def get_metrics() -> Response:
    """Get the metrics of all workers of this replica, for Prometheus."""
    instrumentation.measure_readiness()
    return Response(metrics.render(), content_type=metrics.CONTENT_TYPE)


def _json(document: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(document), status, mimetype="application/json")
