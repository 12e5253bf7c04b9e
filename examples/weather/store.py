"""Keeps answers of another service in memory, for as long as their Cache-Control allows (RFC 9111)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from werkzeug.datastructures import ResponseCacheControl
from werkzeug.http import parse_cache_control_header

Answer = TypeVar("Answer")
# RFC 9111 section 1.2.2 allows any upper bound from 2^31 seconds on; what is kept for a year is kept long enough.
MAX_SECONDS = 365 * 24 * 3600
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stored(Generic[Answer]):
    """An answer, and until when it may be used."""

    answer: Answer
    fresh_until: datetime
    # While the other service fails.
    stale_until: datetime


class AnswerStore(Generic[Answer]):
    """The newest answer by its key. Beyond `capacity` answers, those that were not used for the longest time go."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[str, Stored[Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: str) -> Stored[Answer] | None:
        """Return the stored answer, or None."""
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
            return found

    def keep(self, key: str, answer: Answer, headers: Mapping[str, str], asked_at: datetime) -> None:
        """Store an answer if its headers, whose names are in lower case, allow it. An older one is no longer used.

        `asked_at` is the time of the request: the answer may have been made at once (RFC 9111 section 4.2.3).
        """
        stored = _stored(answer, headers, asked_at)
        with self._lock:
            self._answers.pop(key, None)
            if stored is not None:
                self._answers[key] = stored
            while len(self._answers) > self._capacity:
                self._answers.popitem(last=False)


def _stored(answer: Answer, headers: Mapping[str, str], asked_at: datetime) -> Stored[Answer] | None:
    """Return what to store, or None if the answer may not be stored by a cache that several users share."""
    # The names of directives are case-insensitive.
    control = parse_cache_control_header(headers.get("cache-control", "").lower(), cls=ResponseCacheControl)
    # A stored answer with no-cache would have to be validated before each use.
    if control.no_store or control.no_cache or control.private:
        return None
    lifetime = control.max_age if control.s_maxage is None else control.s_maxage
    age = headers.get("age", "")
    # Ten digits are already more than the bound.
    fresh_seconds = _seconds(lifetime) - (_seconds(int(age[:10])) if age.isdecimal() and age.isascii() else 0)
    fresh_until = asked_at + timedelta(seconds=max(fresh_seconds, 0))
    # In a shared cache s-maxage forbids what proxy-revalidate does (RFC 9111 section 5.2.2.10).
    if control.must_revalidate or control.proxy_revalidate or control.s_maxage is not None:
        stale_until = fresh_until
    elif "stale-if-error" in control:  # RFC 5861 section 4
        stale_until = fresh_until + timedelta(seconds=_seconds(control.stale_if_error))
    else:
        stale_until = FOREVER
    return Stored(answer, fresh_until, stale_until)


def _seconds(value: int | None) -> int:
    """Return a number of seconds within bounds; 0 for one that is missing or cannot be read."""
    return min(max(value or 0, 0), MAX_SECONDS)
