"""Logs: one line a request, as JSON or as text, and never a secret in it."""

from __future__ import annotations

import logging
import re
import sys
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any

import orjson
from flask import Flask, Response, g, has_request_context, request

from app.settings import Settings

LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
log = logging.getLogger("gatepost.request")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What must not reach a log whoever writes the line: tokens by their shape, credentials by their names.
_SECRETS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*|\$argon2\S+|(?i:\bbearer\s+[^\s\"',]+)"
    r"|(?i:(?<=password)(?P<q>['\"]?)\s*[:=]\s*['\"]?[^\s'\",}]+)"
)
REDACTED = "[redacted]"


def init_app(app: Flask, settings: Settings) -> None:
    """Send every log line through one handler, and write one for each request."""
    configure(settings)

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        if log.isEnabledFor(logging.INFO):
            log.info("request", extra=_request_fields(response))
        return response


def _request_fields(response: Response) -> dict[str, Any]:
    caller = g.get("caller")
    return {
        "method": request.method,
        "route": str(request.url_rule) if request.url_rule else None,
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.started) * 1000, 2),
        "code": g.get("problem"),
        "user_id": caller.id if caller else None,
        "session_id": caller.session_id if caller else None,
        "ip": request.remote_addr,
    }


def configure(settings: Settings) -> None:
    """Replace the handlers of the process by one, on standard output or LOG_FILE."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if settings.log_file:
        handler = RotatingFileHandler(settings.log_file, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger("gatepost")
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    root.propagate = False


def redact(text: str) -> str:
    """Return `text` without anything that has the shape of a secret."""
    return _SECRETS.sub(REDACTED, text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
    fields = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.getMessage(),
    }
    if has_request_context() and "request_id" in g:
        fields["request_id"] = g.request_id
    return fields | extra


class JsonFormatter(logging.Formatter):
    """One JSON object a line; line breaks in values are escaped, so no value can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = _fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return redact(orjson.dumps(fields, default=str).decode())


class TextFormatter(logging.Formatter):
    """One readable line, and a stack trace below it where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        fields = _fields(record)
        head = f"{fields.pop('time')} {fields.pop('level').upper():7} {fields.pop('logger')} {fields.pop('event')!s}"
        # repr of a string escapes line breaks and control characters.
        tail = " ".join(
            f"{k}={v!r}" if isinstance(v, str) and not v.isprintable() else f"{k}={v}" for k, v in fields.items()
        )
        text = f"{head} {tail}".rstrip()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return redact(text)
