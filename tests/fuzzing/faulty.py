"""Gatepost with two faults for Schemathesis to find: an answer that is off its schema, and one of an unforeseen status.

Started by gunicorn in a test: tests.fuzzing.faulty:app.
"""

from __future__ import annotations

import orjson
from flask import Response, request

from run import app


@app.after_request
def spoil(response: Response) -> Response:
    """Put the faults in."""
    if request.path == "/health/ready" and response.status_code == 200:
        response.set_data(orjson.dumps({"status": "splendid"}))
    if request.path == "/api/v1/posts" and "limit" in request.args:
        response.status_code = 418
    return response
