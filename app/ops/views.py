"""The operational routes."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, current_app

from app import metrics
from app.etags import is_unchanged
from app.guards import ANYONE
from app.http import REVALIDATE, Api, written
from app.ops import measures, openapi, probes
from app.ops.schemas import HEALTH, OPENAPI, READINESS

health = Api("health", __name__)
documents = Api("documents", __name__)


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


@documents.operation("GET", "/openapi.json", access=ANYONE, answer=written(OPENAPI, cache=REVALIDATE, is_tagged=True))
def get_openapi() -> Response:
    """Describe every route of this service, as an OpenAPI 3.1 document."""
    content, etag = openapi.find_document(current_app)
    if is_unchanged(etag):
        return Response(status=304, headers={"ETag": etag})
    return Response(content, headers={"ETag": etag}, mimetype="application/json")
