"""Gatepost with two faults that Schemathesis must find: a body that violates its schema, and an undocumented status.

A test starts it with gunicorn, as tests.fuzzing.faulty:app.
"""

from __future__ import annotations

import orjson
from flask import Response, request

from run import app


@app.after_request
def add_faults(response: Response) -> Response:
    """Change the two responses."""
    if request.path == "/health/ready" and response.status_code == 200:
        response.set_data(orjson.dumps({"status": "splendid"}))
    if request.path == "/api/v1/posts" and "limit" in request.args:
        response.status_code = 418
    return response
