"""The operational routes."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, render_template_string

from app.errors import KINDS, NotFound
from app.guards import ANYONE
from app.http import Api, ok
from app.ops import probes

health = Api("health", __name__)
documents = Api("documents", __name__)


@health.operation("GET", "/health", access=ANYONE, answer=ok())
def get_health() -> Response:
    """Tell that the process answers. Touches nothing else."""
    return _plain({"status": "healthy"}, 200)


@health.operation("GET", "/health/ready", access=ANYONE, answer=ok())
def get_readiness() -> Response:
    """Tell whether requests may be sent here: 200, or 503 in the same shape."""
    found = probes.find_unreadiness()
    is_ready = all(state == "ok" for state in found.values())
    return _plain({"status": "ready" if is_ready else "unready", **found}, 200 if is_ready else 503)


def _plain(document: dict[str, Any], status: int) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(document), status, headers, mimetype="application/json")


@documents.operation("GET", "/problems/<name>", access=ANYONE, answer=ok(), problems=(NotFound,))
def get_problem(name: str) -> Response:
    """Explain a problem to a person."""
    kind = KINDS.get(name.replace("-", "_"))
    if kind is None or "_" in name:
        raise NotFound
    page = render_template_string(_PAGE, kind=kind, code=name.replace("-", "_"))
    return Response(page, headers={"Cache-Control": "max-age=3600"}, mimetype="text/html")


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ kind.title }}</title>
<h1>{{ kind.title }}</h1>
<p>{{ kind.detail }}</p>
<p>Status {{ kind.status }}, code <code>{{ code }}</code>.</p>
</html>
"""
