"""Captures log lines as the formatters of the application write them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.observability.logs import JsonFormatter


@contextmanager
def logged(formatter: logging.Formatter | None = None, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """Collect the log lines of the block, as JSON unless another formatter is given."""
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
