"""The routes /health, /health/ready and /metrics, with the schemas of their responses."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response
from marshmallow import Schema, fields

from app.api.access import ANYONE
from app.api.fields import OPTIONAL, Choice, OutputSchema
from app.api.responses import written
from app.api.routing import Api
from app.observability import health as checks
from app.observability import instrumentation, metrics

health = Api("health", __name__)


class Health(OutputSchema):
    """The process is running and answers requests."""

    status = Choice("healthy")


class Readiness(OutputSchema):
    """Whether this replica can serve requests, and the result of each check."""

    status = Choice("ready", "unready")
    database = Choice("ok", "unavailable", "read_only", "misconfigured")
    migrations = Choice("ok", "ahead", "pending", "unknown")
    maintenance = fields.Boolean(
        metadata={"description": "Whether maintenance mode is on. It does not affect `status`."}
    )
    redis = Choice(
        "ok",
        "unavailable",
        metadata={OPTIONAL: True, "description": "Present if REDIS_URL is set. It does not affect `status`."},
    )


HEALTH: Schema = Health()
READINESS: Schema = Readiness()


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
