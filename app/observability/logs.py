"""Logs: one line a request, as JSON or as text, and never a secret in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from flask import Request, g, has_request_context

from app.api.access import Caller
from app.observability.instrumentation import statements
from app.settings import Settings

LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
log = logging.getLogger("gatepost.request")
# gunicorn and granian write to these; their lines get the same handler and format.
SERVER_LOGGERS = ("gunicorn.error", "_granian")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What must not reach a log whoever writes the line: tokens by their shape, credentials by their names.
_NAMES = "password|passwd|secret|token|api_key"
_SECRETS = re.compile(
    r"""(?P<name>(?i:authorization|cookie)['"]?\s*[:=]\s*)['"]?[^\r\n'"]+"""
    rf"""|(?P<key>(?i:{_NAMES})['"]?\s*[:=]\s*)(?:'[^'\r\n]*'|"[^"\r\n]*"|[^\s'",}}]+)"""
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*|\$argon2\S+|(?i:\bbearer\s+[^\s\"',]+)"
)
_SECRET_NAME = re.compile(f"{_NAMES}|authorization|cookie", re.IGNORECASE)
_BARE = re.compile(r"[^\s\"'=\\]+")
REDACTED = "[redacted]"
# The attribute of a record whose members are known to hold no secret, and to be what JSON can hold.
CLEAN = "gatepost_clean"
# A name, what follows it, and one character: "token=x".
SHORTEST_SECRET = 7


def write_request(request: Request, status: int, seconds: float, problem: str | None, caller: Caller | None) -> None:
    """Write the line of a request that was answered."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "method": redact(request.method),
        "route": request.url_rule.rule if request.url_rule else None,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "sql_count": statements.count,
        "sql_ms": round(statements.seconds * 1000, 2),
        "code": problem,
        "user_id": caller.id if caller else None,
        "session_id": caller.session_id if caller else None,
        "ip": redact(request.remote_addr or "") or None,
    }
    # Not by log.info, which finds out where it was called; and with no member for the formatter to look at twice.
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, "request", (), None)
    setattr(record, CLEAN, {name: value for name, value in fields.items() if value is not None})
    log.handle(record)


def configure(settings: Settings) -> None:
    """Send the lines of the application and of the server that runs it to one handler."""
    handler = make_handler(settings)
    for name in ("gatepost", *SERVER_LOGGERS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(settings.log_level)
        logger.propagate = False


def make_handler(settings: Settings) -> logging.Handler:
    """Return a handler for standard output or LOG_FILE, in the format of LOG_FORMAT."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if settings.log_file:
        # Imported only where it is used, because it imports a Redis client.
        from concurrent_log_handler import ConcurrentRotatingFileHandler

        # Several processes write the file. The one that finds it full renames it under a lock that all of them take.
        handler = ConcurrentRotatingFileHandler(
            settings.log_file, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    return handler


def server_logging(settings: Settings) -> dict[str, Any]:
    """Return a logging configuration (logging.config.dictConfig) for a server's own process."""
    logger = {"handlers": ["gatepost"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"gatepost": {"()": make_handler, "settings": settings}},
        "loggers": dict.fromkeys(SERVER_LOGGERS, logger),
    }


@lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return `text` without anything that has the shape of a secret."""
    if len(text) < SHORTEST_SECRET:
        return text
    return _SECRETS.sub(lambda match: f"{match['name'] or match['key'] or ''}{REDACTED}", text)


def _redacted(value: Any) -> Any:
    """Return a value of a log line as JSON can hold it, without secrets at any depth."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): REDACTED if _is_secret(str(k)) else _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    return redact(str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": redact(record.getMessage()),
    }
    if has_request_context() and "request_id" in g:
        fields["request_id"] = g.request_id
    clean: dict[str, Any] | None = getattr(record, CLEAN, None)
    if clean is not None:
        return fields | clean
    extra = {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
    return fields | {name: REDACTED if _is_secret(name) else _redacted(extra[name]) for name in extra}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; line breaks in values are escaped, so no value can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = _fields(record)
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        try:
            line = orjson.dumps(fields).decode()
        except TypeError:
            # A lone surrogate or an integer of more than 64 bits, which a line must not be lost for.
            return json.dumps(fields)
        # JSON may hold U+2028 and the like as they are, but some readers take them for the end of a line.
        return line if line.isprintable() else json.dumps(fields)


class TextFormatter(logging.Formatter):
    """One readable line, and a stack trace below it where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        fields = _fields(record)
        head = f"{fields.pop('time')} {fields.pop('level').upper():7} {fields.pop('logger')}"
        event = str(fields.pop("event"))
        tail = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
        text = f"{head} {event if event.isprintable() else repr(event)} {tail}".rstrip()
        if record.exc_info:
            # Indented, so that no line of an exception's text can pass for a line of the log.
            text += "\n" + textwrap.indent(redact(self.formatException(record.exc_info)), "  ", lambda line: True)
        return text


def _quoted(value: Any) -> str:
    """A value that can't be taken for several, nor for a line: repr escapes breaks and control characters."""
    text = str(value)
    return text if _BARE.fullmatch(text) and text.isprintable() else repr(text)
