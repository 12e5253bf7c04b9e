"""The application log: one line per request, as JSON or text, with secrets redacted."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

import orjson
from flask import Request, g, has_request_context

from app.observability.instrumentation import RespondedRequest
from app.settings import Settings

LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
PATH_LENGTH = 200
REDACTED = "[redacted]"
log = logging.getLogger("gatepost.request")
# gunicorn and granian write to these; their lines get the same handler and format.
SERVER_LOGGERS = ("gunicorn.error", "_granian")
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Redaction applies to every record of every logger: it finds credentials by the name before them, and tokens and
# hashes by their form.
_NAMES = "password|passwd|secret|token|api_key"
_SECRETS = re.compile(
    r"""(?P<name>(?i:authorization|cookie)['"]?\s*[:=]\s*)['"]?[^\r\n'"]+"""
    rf"""|(?P<key>(?i:{_NAMES})['"]?\s*[:=]\s*)(?:'[^'\r\n]*'|"[^"\r\n]*"|[^\s'",}}]+)"""
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*|\$argon2\S+|(?i:\bbearer\s+[^\s\"',]+)"
)
_SECRET_NAME = re.compile(f"{_NAMES}|authorization|cookie", re.IGNORECASE)
_UNQUOTED = re.compile(r"[^\s\"'=\\]+")


def configure(settings: Settings) -> None:
    """Send the records of the application, of the server that runs it and of all libraries to one handler.

    Libraries log from level WARNING, or from LOG_LEVEL if that is higher.
    """
    handler = make_handler(settings)
    root = logging.getLogger()
    # Those of other programs, such as pytest, are kept.
    root.handlers[:] = [handler, *(one for one in root.handlers if not isinstance(one.formatter, FORMATTERS))]
    root.setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    for name in ("gatepost", *SERVER_LOGGERS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(settings.log_level)
        logger.propagate = False


def capture_unlogged(settings: Settings) -> None:
    """Log also what Python itself would print: warnings, and exceptions that nothing handles.

    This changes the whole process. It does nothing unless the log is JSON, because Python's text is more readable in a
    terminal.
    """
    if settings.log_format != "json":
        return
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_exception
    threading.excepthook = lambda failed: _log_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.unraisablehook = lambda failed: _log_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    found = error or kind()
    logging.getLogger("gatepost.errors").error("unhandled exception", exc_info=(kind, found, trace))


def make_handler(settings: Settings) -> logging.Handler:
    """Return a handler that writes to LOG_FILE, or else to standard output, in the format of LOG_FORMAT."""
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
        "root": {"handlers": ["gatepost"], "level": "WARNING"},
        "loggers": dict.fromkeys(SERVER_LOGGERS, logger),
    }


def write_request(response: RespondedRequest) -> None:
    """Log a response at level INFO."""
    request, caller, statements = response.request, response.caller, response.statements
    rule = request.url_rule
    log.info(
        "request",
        extra={
            "request_id": response.request_id,
            "method": request.method,
            "route": rule.rule if rule else None,
            "path": _path_of(request) if rule is None or response.status == 404 else None,
            "status": response.status,
            "duration_ms": round(response.seconds * 1000, 2),
            "bytes_out": response.bytes_out,
            "aborted": None if response.is_complete else True,
            "sql_count": statements.count,
            "sql_ms": round(statements.seconds * 1000, 2),
            "code": response.problem,
            "user_id": caller.id if caller else None,
            "session_id": caller.session_id if caller else None,
            "ip": response.ip,
        },
    )


def _path_of(request: Request) -> str:
    """Return the path that the client sent, with at most PATH_LENGTH characters, all of them printable."""
    path = request.environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in path[:PATH_LENGTH])


class JsonFormatter(logging.Formatter):
    """Formats a record as one line with a JSON object. Line breaks in values are escaped, so no value adds a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        members = _members(record)
        if record.exc_info:
            members["exception"] = redact(self.formatException(record.exc_info))
        try:
            line = orjson.dumps(members).decode()
        except TypeError:
            # orjson refuses lone surrogates and integers of more than 64 bits; the record must not be lost.
            return json.dumps(members)
        # JSON allows U+2028 and similar characters unescaped, but some programs treat them as line breaks.
        return line if line.isprintable() else json.dumps(members)


class TextFormatter(logging.Formatter):
    """Formats a record as one readable line, followed by the indented stack trace if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        members = _members(record)
        head = f"{members.pop('time')} {members.pop('level').upper():7} {members.pop('logger')}"
        event = str(members.pop("event"))
        tail = " ".join(f"{name}={_quote_if_needed(value)}" for name, value in members.items())
        text = f"{head} {event if event.isprintable() else repr(event)} {tail}".rstrip()
        if record.exc_info:
            # Indented, so that no line of an exception's text looks like a line of the log.
            text += "\n" + textwrap.indent(redact(self.formatException(record.exc_info)), "  ", lambda line: True)
        return text


def redact(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced."""
    return _SECRETS.sub(lambda match: f"{match['name'] or match['key'] or ''}{REDACTED}", text)


def _members(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line contains: time, level, logger, message, request id, and the record's `extra`, redacted."""
    members = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": redact(_message_of(record)),
    }
    if has_request_context() and "request_id" in g:
        members["request_id"] = g.request_id
    extra = {k: v for k, v in vars(record).items() if k not in _STANDARD_ATTRIBUTES and v is not None}
    return members | {name: _redact_member(name, value) for name, value in extra.items()}


def _message_of(record: logging.LogRecord) -> str:
    """Return the message; if its arguments do not fit, the text and them. Otherwise Python would print a traceback."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


def _redact_member(name: str, value: Any) -> Any:
    return REDACTED if _is_secret(name) else _redact_value(value)


@lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _redact_value(value: Any) -> Any:
    """Return a value as JSON can represent it, with secrets redacted at any depth."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(k): _redact_member(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item) for item in value]
    return redact(str(value))


def _quote_if_needed(value: Any) -> str:
    """Return a value as text, quoted and escaped unless it is one word, so that it can't imitate other members."""
    text = str(value)
    return text if _UNQUOTED.fullmatch(text) and text.isprintable() else repr(text)


FORMATTERS = (JsonFormatter, TextFormatter)
