"""Counters that all workers of one machine share without a server, in a small LMDB file.

Owns what a record means and how full the file may get. Knows nothing of the names of limits, or of
HTTP.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lmdb
from limits.storage import Storage

from app.security.rate_limits.file import BROKEN, counter_file

Count = tuple[int, float]
"""The count of a window, and the seconds until it ends."""

MAP_BYTES = 16 * 1024 * 1024
# With half-empty pages, the worst that random keys do to a B+tree, these fill two thirds of the
# map.
MAX_ENTRIES = 120_000
SWEEP_ENTRIES = 4
# A clock set back by more than this restarts a window, rather than closing it for days.
CLOCK_SLACK_SECONDS = 10.0
RECORD = struct.Struct("<Id")
MAX_COUNT = 2**32 - 1

Answer = TypeVar("Answer")


class LmdbStorage(Storage):
    """Fixed windows that start at their first hit; each call is one transaction.

    LMDB's write lock is process-shared and robust: it serialises the workers, and outlives one that
    is killed.
    Reads take it too, since the reader's slot of a killed process would pin old pages until the map
    is full.
    """

    STORAGE_SCHEME = None

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        map_bytes: int = MAP_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        super().__init__()
        self._file = counter_file(path, map_bytes)
        self._clock = clock
        self._max_entries = max_entries

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What this store raises when it can't be used."""
        return (lmdb.Error, OSError)

    def take(self, key: str, limit: int, seconds: float, amount: int = 1) -> Count:
        """Add `amount` unless that would pass `limit`; return the count, passed or not."""
        return self._run(lambda txn: self._take(txn, key.encode(), limit, seconds, amount))

    def peek(self, key: str, seconds: float) -> Count:
        """Return the count without adding to it."""
        return self._run(lambda txn: _read(txn, key.encode(), self._clock(), seconds))

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add `amount` in any case and return the count."""
        return self.take(key, MAX_COUNT, expiry, amount)[0]

    def get(self, key: str) -> int:
        """Return the count of the window that is open, or 0."""
        return self.peek(key, math.inf)[0]

    def get_expiry(self, key: str) -> float:
        """Return when the window ends, in Unix seconds; now, if none is open."""
        count, left = self.peek(key, math.inf)
        return self._clock() + (left if count else 0)

    def check(self) -> bool:
        """Return whether the store can be used."""
        try:
            self.get("check")
        except self.base_exceptions:
            return False
        return True

    def reset(self) -> int | None:
        """Forget every count and return how many there were."""
        return self._run(_drop_all)

    def clear(self, key: str) -> None:
        """Forget the count of `key`."""
        self._run(lambda txn: txn.delete(key.encode()))

    def _run(self, work: Callable[[lmdb.Transaction[bytes]], Answer]) -> Answer:
        """Do `work` in a write transaction; again, on an empty file, if this one is broken."""
        environment = self._file.environment()
        try:
            with environment.begin(write=True) as txn:
                return work(txn)
        except (*BROKEN, struct.error) as error:
            self._file.replace(environment, error)
        with self._file.environment().begin(write=True) as txn:
            return work(txn)

    def _take(self, txn: lmdb.Transaction[bytes], key: bytes, limit: int, seconds: float, amount: int) -> Count:
        # The clock is read under the lock: an older reading could take a window just opened for one
        # from the future.
        now = self._clock()
        count, left = _read(txn, key, now, seconds)
        if not count:
            self._make_room(txn, key, now)
        if count + amount <= limit:
            txn.put(key, RECORD.pack(count + amount, now + left))
        return count + amount, left

    def _make_room(self, txn: lmdb.Transaction[bytes], key: bytes, now: float) -> None:
        """Delete what has expired among the next few keys; if full, at least one of them.

        Keys are hashes, so the neighbours of a new key are a random sample, and each new key pays
        for its sweep.
        """
        cursor = txn.cursor()
        living: list[tuple[float, bytes]] = []
        deleted = False
        cursor.set_range(key)
        for _ in range(SWEEP_ENTRIES):
            if not cursor.key() and not cursor.first():
                break
            _, expires = RECORD.unpack(cursor.value())
            if expires <= now:
                deleted = cursor.delete()
            else:
                living.append((expires, cursor.key()))
                cursor.next()
        if living and not deleted and txn.stat()["entries"] >= self._max_entries:
            txn.delete(min(living)[1])


def _read(txn: lmdb.Transaction[bytes], key: bytes, now: float, seconds: float) -> Count:
    record = txn.get(key)
    if record is not None:
        count, expires = RECORD.unpack(record)
        if now < expires <= now + seconds + CLOCK_SLACK_SECONDS:
            return count, min(expires - now, seconds)
    return 0, seconds


def _drop_all(txn: lmdb.Transaction[bytes]) -> int:
    entries = txn.stat()["entries"]
    cursor = txn.cursor()
    cursor.first()
    while cursor.delete():
        pass
    return entries
