"""The environment of the drills: servers, applications, and the run of one drill with its figures.

Does not depend on any drill.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Engine, NullPool, create_engine

from gatepost.testing.races import Arena
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from gatepost.testing.services.process import private_folder
from tests.conftest import migrate
from tests.faults.drill import Outcome, Poller, Verdict, Writer, check
from tests.faults.firewall import Firewall, firewall_before
from tests.faults.relay import Relay
from tests.support.services.redis import RedisServer

T = TypeVar("T")
WRITERS = 4
RECOVERY_SECONDS = 60.0
# Probes must notice an outage of this length.
NOTICED_SECONDS = 2.0
# Each drill logs its writers in. A worker lets half as many requests as it has threads wait for password hashing, which
# must be enough for all writers. All deadlines have their defaults.
ENVIRONMENT = {
    "RATELIMIT_ENABLED": "false",
    "MAX_SESSIONS_PER_USER": "10000",
    "WEB_THREADS": str(2 * WRITERS),
    "LOG_FORMAT": "json",
}
# Limits of nginx that no drill reaches.
NO_LIMITS = {"NGINX_RATE": "100000r/s", "NGINX_BURST": "10000", "NGINX_CONNECTIONS": "1000"}
# Enabled rate limits that no drill reaches.
LIMITS = {
    "RATELIMIT_ENABLED": "true",
    **{f"RATELIMIT_{name}": "1000000 per minute" for name in ("DEFAULT", "REGISTER", "LOGIN_ACCOUNT", "LOGIN_ADDRESS")},
}


@dataclass
class Figures:
    """The results of a drill. Times are in seconds, the longest of all outages; None if there was no outage."""

    name: str
    database: str
    done: str
    outcomes: list[Outcome] = field(repr=False)
    verdict: Verdict
    unready: float | None
    ready: float | None
    first_success: float | None
    health: Counter[str]
    ready_labels: Counter[str]
    slowest_probe: float
    surprises: int
    remark: str = ""

    @property
    def labels(self) -> Counter[str]:
        """The number of each response to the writers."""
        return Counter("2xx" if outcome.succeeded else outcome.label for outcome in self.outcomes)

    @property
    def slowest(self) -> float:
        """The longest time until a response, or until the end of the connection."""
        return max(outcome.seconds for outcome in self.outcomes)


class Drill:
    """A run of a drill: writers and pollers use a server while faults occur. A context manager."""

    def __init__(
        self,
        server: GatepostServer,
        engine: Engine,
        *,
        writers: int = WRITERS,
        port: int = 0,
        keeping_connections: int = 0,
    ) -> None:
        self.server, self.engine = server, engine
        self._journals = private_folder("journals")
        arena, prefix = Arena(server, engine), secrets.token_hex(3)
        self.writers = [
            Writer(
                f"{prefix}{index}",
                port or server.port,
                arena.join(),
                self._journals / f"{prefix}{index}",
                keeps_connection=index < keeping_connections,
            )
            for index in range(writers)
        ]
        self.health, self.ready = (Poller(server.port, path) for path in ("/health", "/health/ready"))
        self._down_at = 0.0
        self._unready: list[float] = []
        self._ready: list[float] = []
        self._first: list[float] = []
        self._verdict, self._surprises = Verdict(), 0
        self._log_start = len(server.log_text())

    def __enter__(self) -> Self:
        for writer in self.writers:
            writer.log_in()
        for thread in (*self.writers, self.health, self.ready):
            thread.start()
        try:
            self.wait(lambda: all(map(_has_written, self.writers)))
        except BaseException:
            self._end()
            raise
        return self

    def _end(self) -> None:
        threads = (*self.writers, self.health, self.ready)
        for thread in threads:
            thread.finish()
        for thread in threads:
            thread.join()
        for writer in self.writers:
            writer.close()

    def __exit__(self, *exception: object) -> None:
        self._end()
        if exception[0] is None:
            # Now, because the drill may remove its server afterwards.
            self._verdict = check(self.engine, self.writers, self._journals)
            # The last line may not be complete yet.
            log = self.server.log_text()[self._log_start :].rpartition("\n")[0]
            self._surprises = sum(map(_is_surprise, log.splitlines()))

    @property
    def outcomes(self) -> list[Outcome]:
        """Every request of every writer."""
        return [outcome for writer in self.writers for outcome in list(writer.outcomes)]

    def begin_fault(self) -> None:
        """Record that the fault begins now."""
        self._down_at = time.monotonic()

    def end_fault(self) -> None:
        """Record that the fault has ended now, and wait until the service is available."""
        up_at = time.monotonic()
        unready = self.ready.seconds_until("503", self._down_at, asked_since=False)
        if unready is not None:
            self._unready.append(unready)
        elif up_at - self._down_at >= NOTICED_SECONDS:
            self._unready.append(float("inf"))
        self._ready.append(self.wait(lambda: self.ready.seconds_until("200", up_at)))
        self._first.append(self.wait(lambda: self._seconds_until_success(up_at)))

    def _seconds_until_success(self, since: float) -> float | None:
        ends = [o.ended for o in self.outcomes if o.is_write and o.succeeded and o.ended >= since]
        return min(ends) - since if ends else None

    @staticmethod
    def wait(find: Callable[[], T | None]) -> T:
        """Wait until `find` returns a true value, and return that. Raises TimeoutError after RECOVERY_SECONDS."""
        ends = time.monotonic() + RECOVERY_SECONDS
        while not (found := find()):
            if time.monotonic() > ends:
                raise TimeoutError(f"Not within {RECOVERY_SECONDS} s.")
            time.sleep(0.02)
        return found

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Record a fault that lasts as long as the block."""
        self.begin_fault()
        yield
        self.end_fault()

    def figures(self, name: str, database: str, done: str, remark: str = "") -> Figures:
        """Return the figures. Call this after the end of the drill."""
        return Figures(
            name,
            database,
            done,
            self.outcomes,
            self._verdict,
            max(self._unready, default=None),
            max(self._ready, default=None),
            max(self._first, default=None),
            Counter(outcome.label for outcome in self.health.outcomes),
            Counter(outcome.label for outcome in self.ready.outcomes),
            max(o.seconds for probe in (self.health, self.ready) for o in probe.outcomes if o.label[:1].isdigit()),
            self._surprises,
            remark,
        )


def _is_surprise(line: str) -> bool:
    """Return whether a line of the log reports an unexpected exception, or is not one JSON object."""
    try:
        entry = json.loads(line)
    except ValueError:
        return True
    return not isinstance(entry, dict) or re.search("unhandled exception|Traceback", line) is not None


def _has_written(writer: Writer) -> bool:
    return any(outcome.succeeded for outcome in list(writer.outcomes))


class Stage:
    """The servers of all drills, each started at its first use. A context manager.

    Several drills use the same application one after the other, so each must leave it working.
    """

    def __init__(self, *, is_long: bool) -> None:
        self.is_long = is_long
        self._stack = ExitStack()
        self._servers: list[GatepostServer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # At the same time, because each takes some seconds.
        with self._stack, ThreadPoolExecutor() as pool:
            for end in [pool.submit(server.close) for server in self._servers]:
                end.result()

    def pick(self, short: T, long: T) -> T:
        """Return `long` in a long run, otherwise `short`."""
        return long if self.is_long else short

    def serve(self, url: str, **environment: str) -> GatepostServer:
        """Start an application that runs until the end of all drills."""
        server = GatepostServer({"DATABASE_URL": url, **ENVIRONMENT, **environment})
        self._servers.append(server)
        return server

    @contextmanager
    def lend(self, url: str, **environment: str) -> Iterator[GatepostServer]:
        """Start an application for the length of the block."""
        with GatepostServer({"DATABASE_URL": url, **ENVIRONMENT, **environment}) as server:
            yield server

    @cached_property
    def folder(self) -> Path:
        """A temporary folder."""
        return private_folder("drills")

    @cached_property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL that flushes commits to disk."""
        return self._stack.enter_context(PostgresServer(durable=True))

    @cached_property
    def url(self) -> str:
        """The URL of a migrated PostgreSQL database."""
        url = self.postgres.create_database("gatepost")
        migrate(url)
        return url

    @cached_property
    def engine(self) -> Engine:
        """A direct connection to that database, without relay and firewall."""
        return engine_of(self.url)

    @cached_property
    def server(self) -> GatepostServer:
        """An application that uses the PostgreSQL database."""
        return self.serve(self.url)

    @cached_property
    def relay(self) -> Relay:
        """A relay before PostgreSQL."""
        return self._stack.enter_context(Relay(urlsplit(self.url).port or 5432))

    @cached_property
    def firewall(self) -> Firewall:
        """A firewall before the relay."""
        return firewall_before(self.relay)

    @cached_property
    def relayed(self) -> GatepostServer:
        """An application that connects to the database through the relay."""
        parts = urlsplit(self.url)
        netloc = f"{parts.username}:{parts.password}@{LOOPBACK}:{self.relay.port}"
        return self.serve(urlunsplit(parts._replace(netloc=netloc)))

    @cached_property
    def redis(self) -> RedisServer:
        """A Redis without eviction."""
        return self._stack.enter_context(RedisServer("--maxmemory-policy", "noeviction"))

    @cached_property
    def limited(self) -> GatepostServer:
        """An application that counts its rate limits in Redis."""
        return self.serve(self.url, REDIS_URL=self.redis.url, **LIMITS)

    @cached_property
    def sqlite_url(self) -> str:
        """The URL of a migrated SQLite database."""
        url = f"sqlite:///{self.folder / 'gatepost.db'}"
        migrate(url)
        return url

    @cached_property
    def sqlite_server(self) -> GatepostServer:
        """An application that uses the SQLite database."""
        return self.serve(self.sqlite_url)


def engine_of(url: str) -> Engine:
    """Return an engine without a pool, for the check of a database."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool)
