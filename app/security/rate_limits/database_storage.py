"""Rate limit counters in the service's database, shared by all workers and replicas and kept across restarts.

Each call is one statement that commits by itself, so a request that is refused afterwards still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Executable

from app.components import utc_now
from app.database import UtcDateTime, db, execute_autocommit, fetch_all, write
from app.database.executor import precompiled
from app.security.rate_limits.models import RateLimit
from app.security.rate_limits.storage import Count, CounterWindow

# Replicas' clocks may differ by this much. A window that starts later than that was opened before the clock was set
# back: it is replaced, because its end may be days away.
MAX_CLOCK_SKEW = timedelta(seconds=10)


class DatabaseStorage:
    """Fixed windows in the table rate_limits. All methods need an application context and no open transaction."""

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter in one statement and return the new counts.

        The rows are locked in the order of `windows`. Callers must give counters of different limits in one order, or
        two statements could deadlock.
        """
        now = utc_now()
        parameters: dict[str, Any] = {}
        for index, (key, seconds) in enumerate(windows):
            parameters |= {f"key_{index}": key, f"end_{index}": now + timedelta(seconds=seconds)}
        statement = _increment_statement(db.engine.dialect.name, len(windows))
        return _counts(windows, now, execute_autocommit(statement, **_times(now), **parameters))

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts in one statement without changing them."""
        now = utc_now()
        keys = {f"key_{index}": key for index, (key, _) in enumerate(windows)}
        return _counts(windows, now, fetch_all(_read_statement(len(windows)), **_times(now), **keys))

    def clear(self, key: str) -> None:
        """Delete the counter of `key`."""
        execute_autocommit(_CLEAR, key=key)


def prune(limit: int) -> int:
    """Delete up to `limit` expired counters in the open transaction; return how many.

    Rows that another statement has locked are skipped, which avoids a deadlock with `increment`.
    """
    keys = [row.key for row in write(_LOCK_EXPIRED, now=utc_now(), limit=limit)]
    write(delete(RateLimit).where(RateLimit.key.in_(keys)))
    return len(keys)


def _times(now: datetime) -> dict[str, datetime]:
    return {"now": now, "latest_start": now + MAX_CLOCK_SKEW}


def _counts(windows: Sequence[CounterWindow], now: datetime, rows: Sequence[Any]) -> list[Count]:
    """Return the counts in the order of `windows`; neither IN nor RETURNING promises an order of rows."""
    found = {row.key: Count(row.hits, (row.expires_at - now).total_seconds()) for row in rows}
    return [found.get(key, Count(0, seconds)) for key, seconds in windows]


def _is_open() -> ColumnElement[bool]:
    return and_(RateLimit.expires_at > _time("now"), RateLimit.started_at <= _time("latest_start"))


def _time(name: str) -> Any:
    return bindparam(name, type_=UtcDateTime)


@cache
def _increment_statement(dialect: str, number_of_keys: int) -> Executable:
    """Return an upsert, which the database carries out atomically for each row (SQLite since 3.35, PostgreSQL)."""
    rows = [
        {
            "key": bindparam(f"key_{index}", type_=RateLimit.key.type),
            "hits": literal_column("1", RateLimit.hits.type),
            "started_at": _time("now"),
            "expires_at": _time(f"end_{index}"),
        }
        for index in range(number_of_keys)
    ]
    insert = sqlite.insert(RateLimit) if dialect == "sqlite" else postgresql.insert(RateLimit)
    new = insert.excluded
    changes = {
        "hits": case((_is_open(), RateLimit.hits + new.hits), else_=new.hits),
        "started_at": case((_is_open(), RateLimit.started_at), else_=new.started_at),
        "expires_at": case((_is_open(), RateLimit.expires_at), else_=new.expires_at),
    }
    upsert = insert.values(rows).on_conflict_do_update(index_elements=["key"], set_=changes)
    return precompiled(upsert.returning(RateLimit.key, RateLimit.hits, RateLimit.expires_at))


@cache
def _read_statement(number_of_keys: int) -> Executable:
    keys = [bindparam(f"key_{index}", type_=RateLimit.key.type) for index in range(number_of_keys)]
    statement = select(RateLimit.key, RateLimit.hits, RateLimit.expires_at)
    return precompiled(statement.where(RateLimit.key.in_(keys), _is_open()))


_CLEAR = precompiled(delete(RateLimit).where(RateLimit.key == bindparam("key")))
_LOCK_EXPIRED = precompiled(
    select(RateLimit.key)
    .where(RateLimit.expires_at <= _time("now"))
    .order_by(RateLimit.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
