"""Gatepost with two faults for Schemathesis to find: an answer with a member too many, and one of an unforeseen status.

Started by gunicorn in a test: tests.fuzzing.faulty:app.
"""

from __future__ import annotations

import orjson
from flask import Response, request

from run import app


@app.after_request
def spoil(response: Response) -> Response:
    """Put the faults in."""
    if request.path == "/health":
        response.set_data(orjson.dumps({"status": "healthy", "version": "1.2.3"}))
    if request.path == "/openapi.json" and request.method == "GET" and request.args:
        response.status_code = 418
    return response
