"""Connections to PostgreSQL: what is sent at connect, several hosts, and the databases that are refused.

Client-side deadlines are in deadlines.py.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy.engine import URL, Dialect, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from app.database.circuit_breaker import CircuitBreaker
from app.database.deadlines import DatabaseOutage, DeadlineExceeded, bounded_connection
from app.database.errors import UnsuitableDatabase, is_refused_as_read_only
from app.settings.environment import InvalidValue, read_passwords

# Between two attempts to reach a database that does not respond. The attempts themselves take up to a second.
PROBE_PAUSE_SECONDS = 0.05
ENCODING = "UTF8"
# PostgreSQL 14 and newer report these to the client, without a query. "on" means that the server takes no writes.
_READ_ONLY_PARAMETERS = ("in_hot_standby", "default_transaction_read_only")
# These apply to all connections, whatever is set for the role or the database.
_SERVER_SETTINGS = {"timezone": "UTC", "default_transaction_isolation": r"read\ committed"}
# Connection parameters with one value for each host (libpq documentation, section "Specifying Multiple Hosts").
_PER_HOST = ("host", "hostaddr", "port")


def connect_arguments(
    url: URL, *, connect_seconds: float, timeouts_ms: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return psycopg2's connect arguments beside those in `url`.

    `timeouts_ms` are settings of the server in milliseconds, such as statement_timeout. They and our other settings
    take precedence over those in PGOPTIONS and in the parameter `options` of the URL. A shorter connect_timeout in the
    URL takes precedence over `connect_seconds`.
    """
    ours = {**(timeouts_ms or {}), **_SERVER_SETTINGS}
    given = url.normalized_query.get("options", ())
    options = (os.environ.get("PGOPTIONS", ""), *given, *(f"-c {name}={value}" for name, value in ours.items()))
    return {
        "connection_factory": bounded_connection(min(connect_seconds, _connect_timeout(url) or connect_seconds)),
        # Shown in pg_stat_activity, unless the URL or PGAPPNAME has another name.
        "fallback_application_name": "gatepost",
        "client_encoding": ENCODING,
        "options": " ".join(filter(None, options)),
    }


def _connect_timeout(url: URL) -> int:
    """Return the parameter connect_timeout of the URL in seconds; 0 if it has none.

    libpq itself ignores it in connections with a wait callback.
    """
    text = str(url.query.get("connect_timeout", ""))
    return int(text) if text.isascii() and text.isdigit() else 0


class Connector:
    """Connects to PostgreSQL (a listener of SQLAlchemy's event `do_connect`).

    libpq tries several hosts one after the other, but within our one deadline it would never leave a host that does
    not answer. So after an exceeded deadline the next attempt begins with the next host.

    The passwords in `password_file` are tried one after the other. While a password is being changed, the file has the
    old and the new one, so that connections succeed before and after the change in the database.
    """

    def __init__(self, password_file: str | None = None) -> None:
        self._first_host = 0
        self._password_file = password_file

    def __call__(self, dialect: Dialect, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        """Return a new connection. Raises OperationalError, such as DeadlineExceeded or UnsuitableDatabase."""
        first = self._first_host
        try:
            connection: Any = self._connect(dialect, *arguments, **_rotate_hosts(options, first))
        except DeadlineExceeded:
            if first == self._first_host:  # otherwise another thread has changed it for the same reason
                self._first_host += 1
            raise
        _require_utf8(connection)
        return connection

    def _connect(self, dialect: Dialect, *arguments: Any, **options: Any) -> Any:
        if self._password_file is None:
            return dialect.connect(*arguments, **options)
        try:
            *others, last = read_passwords(Path(self._password_file))
        except InvalidValue as error:
            raise UnsuitableDatabase(f"DATABASE_PASSWORD_FILE: {error}") from error
        for password in others:
            try:
                return dialect.connect(*arguments, **options, password=password)
            except DeadlineExceeded:
                raise
            except psycopg2.OperationalError:
                # The refusal of a password has no SQLSTATE in libpq, and its text depends on the server's language.
                continue
        return dialect.connect(*arguments, **options, password=last)


def _rotate_hosts(options: dict[str, Any], first: int) -> dict[str, Any]:
    """Return connection parameters whose list of hosts begins with the host at this index, modulo their number."""
    lists = {name: str(options[name]).split(",") for name in _PER_HOST if options.get(name)}
    if not first or len({len(values) for values in lists.values()}) != 1:
        return options
    start = first % max(len(values) for values in lists.values())
    return options | {name: ",".join(values[start:] + values[:start]) for name, values in lists.items()}


def _require_utf8(connection: Any) -> None:
    """Close the connection and raise UnsuitableDatabase if the database is not in UTF-8.

    SQL_ASCII would store any bytes, and other encodings cannot store the names and texts that the API accepts.
    """
    encoding = connection.info.parameter_status("server_encoding")
    # A connection pooler in between may not report it.
    if encoding in (ENCODING, None):
        return
    connection.close()
    raise UnsuitableDatabase(
        f"The encoding of the database is {encoding}, but Gatepost needs UTF8: create a database with "
        "CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8', and move the data to it."
    )


class ConnectionGuard:
    """Opens the connections of an engine, and makes the pool replace those that an outage or a failover has affected.

    An exceeded deadline opens a circuit breaker; any response of the server, even a refusal, closes it.
    """

    def __init__(self, password_file: str | None = None) -> None:
        self._connector = Connector(password_file)
        self._breaker = CircuitBreaker("database", self._probe, retry_seconds=PROBE_PAUSE_SECONDS)
        # The latest attempt to connect, which the circuit breaker's probe repeats.
        self._connect_again: Callable[[], Any]
        # When a server last refused a write because it takes none, by time.monotonic().
        self._refused_at = -math.inf

    def connect(self, dialect: Dialect, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        """Return a new connection (a listener of `do_connect`). Raises DatabaseOutage if the circuit is open."""
        self._connect_again = partial(self._connector, dialect, record, arguments, options)
        if not self._breaker.is_closed():
            raise DatabaseOutage("no response from the database since an earlier deadline")
        return self._connect_again()

    def _probe(self) -> None:
        try:
            self._connect_again().close()
        except DeadlineExceeded:
            raise
        except psycopg2.Error:
            return

    def report(self, error: BaseException | None) -> None:
        """Take note of the driver's error of a statement or of an attempt to connect."""
        if isinstance(error, DeadlineExceeded):
            self._breaker.open(error)
        elif is_refused_as_read_only(error):
            self._refused_at = time.monotonic()

    def handle_error(self, context: ExceptionContext) -> None:
        """Report an error, and close a connection to a server that takes no writes (a listener of `handle_error`)."""
        self.report(context.original_exception)
        if is_refused_as_read_only(context.original_exception):
            context.is_disconnect = True

    def reject_suspect(self, connection: Any) -> None:
        """Raise DisconnectionError for a connection of the pool from before an outage.

        A statement on it could wait for another deadline: a firewall, for example, may have dropped it meanwhile. If
        a server refused a write, connections from before may lead to the same server, the former primary.
        """
        if connection.opened_at < max(self._breaker.opened_at, self._refused_at):
            raise DisconnectionError("the server stopped responding or taking writes after this connection was made")


def is_read_only(connection: extensions.connection) -> bool:
    """Return whether the server reported that it takes no writes, as a standby does. False before PostgreSQL 14."""
    return any(connection.info.parameter_status(name) == "on" for name in _READ_ONLY_PARAMETERS)
