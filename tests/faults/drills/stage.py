"""Where drills take place: servers to break, an application on them, and one run with its figures.

Owns what all drills share. Must not know any of them.
"""

from __future__ import annotations

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

from tests.concurrency.race import Arena
from tests.conftest import migrate
from tests.faults.drill import Outcome, Poller, Verdict, Writer, check
from tests.faults.firewall import Firewall, firewall_before
from tests.faults.relay import Relay
from tests.support.services import LOOPBACK
from tests.support.services.gatepost import GatepostServer
from tests.support.services.postgres import PostgresServer
from tests.support.services.process import private_folder
from tests.support.services.redis import RedisServer

T = TypeVar("T")
WRITERS = 4
RECOVERY_SECONDS = 15.0
# An outage that probes must have seen.
NOTICED_SECONDS = 2.0
# Writers log in as often as drills begin; all deadlines are the defaults.
ENVIRONMENT = {"RATELIMIT_ENABLED": "false", "MAX_SESSIONS_PER_USER": "10000"}
# For an nginx that no drill is to reach a limit of.
NO_LIMITS = {"NGINX_RATE": "100000r/s", "NGINX_BURST": "10000", "NGINX_CONNECTIONS": "1000"}
# Limits that are counted, and that no drill reaches.
LIMITS = {
    "RATELIMIT_ENABLED": "true",
    **{f"RATELIMIT_{name}": "1000000 per minute" for name in ("DEFAULT", "REGISTER", "LOGIN_ACCOUNT", "LOGIN_ADDRESS")},
}


@dataclass
class Figures:
    """What a drill has shown. Times are the worst of all outages, in seconds; None where there was none to see."""

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
        """How often each answer was given to the writers."""
        return Counter("2xx" if outcome.succeeded else outcome.label for outcome in self.outcomes)

    @property
    def slowest(self) -> float:
        """The longest that a writer waited for any answer, or the end of its connection."""
        return max(outcome.seconds for outcome in self.outcomes)


class Drill:
    """Writers and pollers at work on a server while faults come and go; a context manager."""

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
            # While the server, which may be the drill's own, is still there.
            self._verdict = check(self.engine, self.writers, self._journals)
            log = self.server.log_text()[self._log_start :]
            self._surprises = len(re.findall("unhandled exception|Traceback", log))

    @property
    def outcomes(self) -> list[Outcome]:
        """Every request of every writer."""
        return [outcome for writer in self.writers for outcome in list(writer.outcomes)]

    def fail(self) -> None:
        """Note that the fault begins now."""
        self._down_at = time.monotonic()

    def mend(self) -> None:
        """Note that the fault is over now, and wait until the service is back."""
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
        """Wait until there is something to find, and return it."""
        ends = time.monotonic() + RECOVERY_SECONDS
        while not (found := find()):
            if time.monotonic() > ends:
                raise TimeoutError(f"Not within {RECOVERY_SECONDS} s.")
            time.sleep(0.02)
        return found

    @contextmanager
    def outage(self) -> Iterator[None]:
        """A fault that lasts as long as the block."""
        self.fail()
        yield
        self.mend()

    def figures(self, name: str, database: str, done: str, remark: str = "") -> Figures:
        """Sum up, after the end."""
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


def _has_written(writer: Writer) -> bool:
    return any(outcome.succeeded for outcome in list(writer.outcomes))


class Stage:
    """The servers of a run of drills, started when one first asks; a context manager.

    One application serves all drills of a kind in turn: none may make it necessary to restart it.
    """

    def __init__(self, *, is_long: bool) -> None:
        self.is_long = is_long
        self._stack = ExitStack()
        self._servers: list[GatepostServer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Together: each takes its time to finish.
        with self._stack, ThreadPoolExecutor() as pool:
            for end in [pool.submit(server.close) for server in self._servers]:
                end.result()

    def pick(self, short: T, long: T) -> T:
        """Choose by the form of this run."""
        return long if self.is_long else short

    def serve(self, url: str, **environment: str) -> GatepostServer:
        """Start an application."""
        server = GatepostServer({"DATABASE_URL": url, **ENVIRONMENT, **environment})
        self._servers.append(server)
        return server

    @contextmanager
    def lend(self, url: str, **environment: str) -> Iterator[GatepostServer]:
        """Start an application for one drill."""
        with GatepostServer({"DATABASE_URL": url, **ENVIRONMENT, **environment}) as server:
            yield server

    @cached_property
    def folder(self) -> Path:
        """A place for files."""
        return private_folder("drills")

    @cached_property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL whose commits reach the disk."""
        return self._stack.enter_context(PostgresServer(durable=True))

    @cached_property
    def url(self) -> str:
        """A migrated database in it."""
        url = self.postgres.create_database("gatepost")
        migrate(url)
        return url

    @cached_property
    def engine(self) -> Engine:
        """The way to that database that no fault is on."""
        return engine_of(self.url)

    @cached_property
    def server(self) -> GatepostServer:
        """An application on it."""
        return self.serve(self.url)

    @cached_property
    def relay(self) -> Relay:
        """A network before it."""
        return self._stack.enter_context(Relay(urlsplit(self.url).port or 5432))

    @cached_property
    def firewall(self) -> Firewall:
        """A firewall before that."""
        return firewall_before(self.relay)

    @cached_property
    def relayed(self) -> GatepostServer:
        """An application that reaches the database through the relay."""
        parts = urlsplit(self.url)
        netloc = f"{parts.username}:{parts.password}@{LOOPBACK}:{self.relay.port}"
        return self.serve(urlunsplit(parts._replace(netloc=netloc)))

    @cached_property
    def redis(self) -> RedisServer:
        """A Redis that evicts nothing."""
        return self._stack.enter_context(RedisServer("--maxmemory-policy", "noeviction"))

    @cached_property
    def limited(self) -> GatepostServer:
        """An application that counts its limits there."""
        return self.serve(self.url, REDIS_URL=self.redis.url, **LIMITS)

    @cached_property
    def sqlite_url(self) -> str:
        """A migrated SQLite file."""
        url = f"sqlite:///{self.folder / 'gatepost.db'}"
        migrate(url)
        return url

    @cached_property
    def sqlite_server(self) -> GatepostServer:
        """An application on it."""
        return self.serve(self.sqlite_url)


def engine_of(url: str) -> Engine:
    """Return the checker's way to a database."""
    return create_engine(url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool)
