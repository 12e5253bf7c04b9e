"""Reads the log as an operator would: the lines that the application's own formatters write."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.observability.logs import JsonFormatter


@contextmanager
def logged(formatter: logging.Formatter | None = None, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """Collect what is logged inside, as JSON unless told otherwise."""
    log = logging.getLogger("gatepost")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter or JsonFormatter())
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield stream
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
