"""The operational routes."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from app.api.access import ANYONE
from app.api.responses import written
from app.api.routing import Api
from app.observability import health as probes
from app.observability import instrumentation as measures
from app.observability import metrics
from app.observability.schemas import HEALTH, READINESS

health = Api("health", __name__)


@health.operation("GET", "/health", access=ANYONE, answer=written(HEALTH))
def get_health() -> Response:
    """Tell that the process answers. Touches nothing else."""
    return _plain({"status": "healthy"}, 200)


@health.operation("GET", "/health/ready", access=ANYONE, answer=written(READINESS, also=(503,)))
def get_readiness() -> Response:
    """Tell whether requests may be sent here: 200, or 503 in the same shape."""
    found = probes.find_readiness()
    return _plain(found, 200 if found["status"] == "ready" else 503)


@health.operation(
    "GET", "/metrics", access=ANYONE, answer=written(media_type="text/plain", describes="Prometheus' text format.")
)
def get_metrics() -> Response:
    """Give the numbers of all workers to Prometheus."""
    measures.measure_readiness()
    return Response(metrics.render(), content_type=metrics.CONTENT_TYPE)


def _plain(document: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(document), status, mimetype="application/json")
