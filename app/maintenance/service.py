"""The maintenance switch: kept in the database, seen by every worker within a second.

Owns the service_context table and its cache. Must not know who may throw the switch.
"""

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
from app.clock import utc_now
from app.components import components, components_of
from app.database import UtcDateTime, db, fetch_one
from app.database.errors import is_table_missing
from app.database.executor import precompiled
from app.maintenance.models import DEFAULT_RETRY_AFTER_SECONDS, ServiceContext

# A state older than FRESH is asked for again by one request while the others go by it; one older than STALE
# is waited for: so a switch is obeyed within a second whatever the load is.
FRESH_SECONDS = 0.4
STALE_SECONDS = 0.8
WAIT_SECONDS = 0.2
ONLY_ROW = 1
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the row says."""

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
# Two who throw the switch for the first time at once must not both insert.
_ENSURE_ROW = text(
    "INSERT INTO service_context (id, updated_at) VALUES (:id, :now) ON CONFLICT (id) DO NOTHING RETURNING id"
).bindparams(bindparam("now", type_=UtcDateTime))
_STATE = precompiled(select(*_COLUMNS).where(ServiceContext.id == ONLY_ROW))


def read_state() -> State:
    """Return the state in the database; the default one where nobody has set any."""
    row = fetch_one(_STATE)
    return State(**row._mapping) if row is not None else State()


def lock_state() -> State:
    """Return the state under a lock that lasts until the transaction ends."""
    if db.session.execute(_ENSURE_ROW, {"id": ONLY_ROW, "now": utc_now()}).first() is not None:
        # What a reader was shown until now, and its ETag with it.
        return State()
    row = db.session.execute(_STATE.with_for_update()).one()
    return State(**row._mapping)


def change_state(changes: Mapping[str, Any]) -> State:
    """Write the members given, of a locked state, and return all of it."""
    if not changes:
        return read_state()
    db.session.execute(
        update(ServiceContext).where(ServiceContext.id == ONLY_ROW).values(**changes, updated_at=utc_now())
    )
    return read_state()


class MaintenanceCache:
    """This process's view of the state, at most a second old."""

    def __init__(self, read: Callable[[], State] = read_state, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State()
        self._read_at = float("-inf")

    def state(self) -> State:
        """Return the state; asks the database when it is older than it may be.

        Raises the driver's error to the one request that asked in vain. To every other the last state holds: an
        outage neither ends maintenance nor begins it. Nor do migrations: while they hold the table, or have not made
        it yet, the last state holds for all.
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
            if not (is_table_missing(error) or _is_table_locked(error)):
                raise
        finally:
            self._read_at = self._clock()


def _is_table_locked(error: SQLAlchemyError) -> bool:
    """Whether a migration holds this one table of a database that otherwise answers."""
    return getattr(getattr(error, "orig", None), "pgcode", None) == LOCK_NOT_AVAILABLE


# These routes are served during maintenance: probes, documents (the public keys are
# one) and the service context itself.
# Login is too, for administrators only: the auth feature checks the role once the account is known.
OPEN_BLUEPRINTS = frozenset(
    {"health", "prefixed_health", "documents", "key_set", "problems", "docs", "service_context"}
)
OPEN_ENDPOINTS = frozenset({"auth.log_in"})


def init_app(app: Flask) -> None:
    """Give the application its switch."""
    components_of(app).maintenance = MaintenanceCache()


def require_service() -> None:
    """Raise Maintenance while the service is being maintained."""
    state = components().maintenance.state()
    if state.maintenance:
        raise Maintenance(state.message, state.retry_after)


def refuse_during_maintenance() -> None:
    """Raise Maintenance for a route that is closed during maintenance, if maintenance is on."""
    name = request.endpoint
    if name is None or name in OPEN_ENDPOINTS or name.rpartition(".")[0] in OPEN_BLUEPRINTS:
        return
    if name in components().endpoints:
        require_service()
