"""The maintenance state: stored in the database, and cached by each process for less than a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask, request
from sqlalchemy import bindparam, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from app.api.errors import Maintenance
from app.components import components, components_of, utc_now
from app.database import UtcDateTime, db, fetch_one, write
from app.database.errors import is_table_missing
from app.database.executor import precompiled
from app.maintenance.models import DEFAULT_RETRY_AFTER_SECONDS, ServiceContext
from app.settings import Settings

# A cached state is fresh for FRESH_SECONDS. After that one request reads it again, while the others still use the
# cached one. From STALE_SECONDS on they wait for that read. So a change takes effect within a second under any load.
FRESH_SECONDS = 0.4
STALE_SECONDS = 0.8
WAIT_SECONDS = 0.2
ONLY_ROW = 1
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The maintenance state; the default values apply while the table has no row."""

    maintenance: bool = False
    message: str = ""
    retry_after: int = DEFAULT_RETRY_AFTER_SECONDS
    updated_at: datetime | None = None


_COLUMNS = (
    ServiceContext.maintenance,
    ServiceContext.message,
    ServiceContext.retry_after,
    ServiceContext.updated_at,
)
# ON CONFLICT, because two requests may insert the first row at the same time.
_ENSURE_ROW = text(
    "INSERT INTO service_context (id, updated_at) VALUES (:id, :now) ON CONFLICT (id) DO NOTHING RETURNING id"
).bindparams(bindparam("now", type_=UtcDateTime))
_SELECT_STATE = precompiled(select(*_COLUMNS).where(ServiceContext.id == ONLY_ROW))


def read_state() -> State:
    """Return the state in the database, or the default state if none has been stored."""
    row = fetch_one(_SELECT_STATE)
    return State(**row._mapping) if row is not None else State()


def lock_state() -> State:
    """Return the state and lock its row until the end of the transaction. Inserts the row if it does not exist."""
    if db.session.execute(_ENSURE_ROW, {"id": ONLY_ROW, "now": utc_now()}).first() is not None:
        # The state that GET has returned so far: If-Match is compared with its ETag.
        return State()
    row = db.session.execute(_SELECT_STATE.with_for_update()).one()
    return State(**row._mapping)


def change_state(changes: Mapping[str, Any]) -> State:
    """Change the given members of the state and return the new state. The caller must have called lock_state()."""
    if not changes:
        return read_state()
    write(update(ServiceContext).where(ServiceContext.id == ONLY_ROW).values(**changes, updated_at=utc_now()))
    return read_state()


class MaintenanceCache:
    """Caches the maintenance state in a process, for less than a second."""

    def __init__(self, read: Callable[[], State] = read_state, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State()
        self._read_at = float("-inf")

    def state(self) -> State:
        """Return the state, read from the database if the cached one is no longer fresh.

        If the read fails, the request that made it gets the SQLAlchemyError, and the cached state remains valid for
        the others: a database outage turns maintenance mode neither on nor off. If a migration has locked the table or
        has not created it yet, the cached state remains valid and nothing is raised.
        """
        age = self._clock() - self._read_at
        if age < FRESH_SECONDS or not self._lock.acquire(timeout=WAIT_SECONDS if age >= STALE_SECONDS else 0):
            return self._state
        try:
            if self._clock() - self._read_at >= FRESH_SECONDS:
                self._refresh()
        finally:
            self._lock.release()
        return self._state

    def _refresh(self) -> None:
        try:
            self._state = self._read()
        except SQLAlchemyError as error:
            # The table is locked by a migration, in a database that otherwise answers.
            is_locked = getattr(getattr(error, "orig", None), "pgcode", None) == LOCK_NOT_AVAILABLE
            if not (is_locked or is_table_missing(error)):
                raise
        finally:
            self._read_at = self._clock()


# Routes that are served during maintenance: health checks, metrics, documents and the service context. Login is served
# too, and the auth feature refuses it after the account is known to be no administrator's.
OPEN_BLUEPRINTS = frozenset(
    {"health", "prefixed_health", "documents", "key_set", "problems", "docs", "service_context"}
)
OPEN_ENDPOINTS = frozenset({"auth.log_in"})


def init_app(app: Flask, settings: Settings) -> None:
    """Create the cache of the maintenance state for the application."""
    components_of(app).maintenance = MaintenanceCache()


def require_service() -> None:
    """Raise Maintenance if maintenance mode is on."""
    state = components().maintenance.state()
    if state.maintenance:
        raise Maintenance(state.message, state.retry_after)


def refuse_during_maintenance() -> None:
    """Raise Maintenance if maintenance mode is on and the route of the current request is not served meanwhile."""
    name = request.endpoint
    if name is None or name in OPEN_ENDPOINTS or name.rpartition(".")[0] in OPEN_BLUEPRINTS:
        return
    if name in components().endpoints:
        require_service()
