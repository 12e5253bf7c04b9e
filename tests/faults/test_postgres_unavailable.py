"""A PostgreSQL that is down, frozen, unreachable or too busy: requests get 503 in time, and recovery is automatic."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest

from gatepost.testing.races import Arena, Reply, on_every_worker, race, refresh
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from tests.faults.conftest import ENVIRONMENT, Serve
from tests.faults.outage import (
    Visitor,
    all_at_once,
    assert_alive_but_unready,
    assert_ready,
    assert_refused,
    assert_served,
    each,
    fill_pools,
    held,
    held_post,
    wait_until_served,
)

# Longer than one deadline.
FROZEN_SECONDS = 2.5
TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'gatepost' AND pid != pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[GatepostServer]:
    """Start Gatepost with default deadlines. All tests share it, because no fault requires a restart."""
    with GatepostServer({"DATABASE_URL": database_url, **ENVIRONMENT}) as server:
        yield server


@pytest.fixture
def arena(server: GatepostServer) -> Iterator[Arena]:
    with Arena.of(server).watched() as arena:
        yield arena


@pytest.fixture
def visitor(arena: Arena) -> Visitor:
    return Visitor(arena)


def ways(visitor: Visitor) -> list[Callable[[], Reply]]:
    """Return all requests, and a refresh: its first statement is a write, which is not retried as a read is."""
    return [partial(refresh, visitor.arena, visitor.member.log_in()), *visitor.ways]


def test_a_restart_between_two_requests_goes_unnoticed(visitor: Visitor, database: PostgresServer) -> None:
    for way in ways(visitor):
        fill_pools(visitor)
        database.kill()
        database.start()
        assert_served(on_every_worker(visitor.arena.server, way))
    assert_ready(visitor.arena)


def test_down_and_up_again(visitor: Visitor, database: PostgresServer) -> None:
    fill_pools(visitor)
    database.kill()
    # A refused connection is reported immediately.
    assert_refused(each(visitor, 2), within=0.5)
    assert_refused(all_at_once(visitor, 4))
    assert_alive_but_unready(visitor.arena)
    database.start()
    assert_served(on_every_worker(visitor.arena.server, lambda: wait_until_served(visitor.write)))
    assert_served(each(visitor))
    assert_ready(visitor.arena)


def test_killed_under_load(visitor: Visitor, database: PostgresServer) -> None:
    with ThreadPoolExecutor() as pool:
        ends = time.monotonic() + 2.0
        load = pool.submit(
            lambda: [reply for _ in iter(lambda: time.monotonic() < ends, False) for reply in each(visitor)]
        )
        time.sleep(0.7)
        database.kill()
        time.sleep(0.3)
        database.start()
        replies = load.result()
    refused = [reply for reply in replies if reply.status == 503]
    assert refused
    assert_refused(refused)
    assert_served([reply for reply in replies if reply.status != 503])
    assert_served(each(visitor))


@contextmanager
def frozen(database: PostgresServer) -> Iterator[None]:
    database.freeze()
    try:
        yield
    finally:
        database.thaw()


def test_frozen(visitor: Visitor, database: PostgresServer) -> None:
    fill_pools(visitor)
    with frozen(database):
        # More requests than threads. Each of the first waits for its own deadline.
        assert_refused(all_at_once(visitor, 3))
        ends = time.monotonic() + FROZEN_SECONDS
        while time.monotonic() < ends:
            assert_alive_but_unready(visitor.arena)
            assert_refused(each(visitor))
            assert_refused(all_at_once(visitor, 3))
    assert_served(on_every_worker(visitor.arena.server, lambda: wait_until_served(visitor.write)))
    assert_served(all_at_once(visitor))
    assert_ready(visitor.arena)


def test_frozen_for_less_than_a_deadline(visitor: Visitor, database: PostgresServer) -> None:
    fill_pools(visitor)
    with ThreadPoolExecutor() as pool, frozen(database):
        waiting = [pool.submit(way) for way in visitor.ways]
        time.sleep(0.5)
        database.thaw()
        assert_served([future.result() for future in waiting])


def test_killed_while_frozen(visitor: Visitor, database: PostgresServer) -> None:
    with frozen(database):
        assert_refused(all_at_once(visitor, 2))
        database.process.kill()
    assert_refused(each(visitor))
    database.start()
    assert_served(on_every_worker(visitor.arena.server, lambda: wait_until_served(visitor.look)))


def test_probes_of_a_frozen_database_do_not_wait_for_each_other(arena: Arena, database: PostgresServer) -> None:
    assert_ready(arena)
    with frozen(database):
        race(*[lambda: assert_alive_but_unready(arena)] * 4)
    assert_ready(arena)


def test_connections_terminated_between_requests(visitor: Visitor) -> None:
    for way in ways(visitor):
        fill_pools(visitor)
        assert visitor.arena.number(TERMINATE) > 0
        assert_served(on_every_worker(visitor.arena.server, way))


@pytest.mark.parametrize("name", ["read", "edit"])
@pytest.mark.parametrize("seconds", [0.1, 0.6])
def test_connections_terminated_during_requests(visitor: Visitor, name: str, seconds: float) -> None:
    table_lock = "LOCK TABLE posts IN ACCESS EXCLUSIVE MODE"
    with ThreadPoolExecutor() as pool, held(visitor.arena, table_lock):
        waiting = [pool.submit(getattr(visitor, name)) for _ in range(4)]
        time.sleep(seconds)
        assert visitor.arena.number(TERMINATE) > 0
        assert_refused([future.result() for future in waiting])
    assert_served(each(visitor))


def test_a_row_that_another_transaction_holds(visitor: Visitor) -> None:
    with held_post(visitor):
        replies = race(visitor.edit, visitor.edit, visitor.read, visitor.look, visitor.write)
        assert_refused(replies[:2])
        assert min(reply.seconds for reply in replies[:2]) > 0.7
        assert_served(replies[2:])
        assert max(reply.seconds for reply in replies[2:]) < 0.9
        assert_ready(visitor.arena)
    assert_served(each(visitor))


def test_a_row_that_is_let_go_in_time(visitor: Visitor) -> None:
    with ThreadPoolExecutor() as pool:
        with held_post(visitor):
            waiting = pool.submit(visitor.edit)
            time.sleep(0.4)
        assert_served([waiting.result()])


def test_too_few_connections_for_slow_requests(serve: Serve, database_url: str) -> None:
    visitor = Visitor(serve(database_url, DB_POOL_SIZE="1"))
    with held_post(visitor):
        assert_refused(race(*[visitor.edit] * 12))
        # Some waited for the row, the others for the only connection.
        causes = set(re.findall(r"\bcause\W+(\w+)", visitor.arena.server.log_text()))
        assert causes >= {"LockNotAvailable", "TimeoutError"}
        assert_ready(visitor.arena)
    assert_served(on_every_worker(visitor.arena.server, lambda: wait_until_served(visitor.edit)))


@contextmanager
def black_hole(port: int, *, full: bool) -> Iterator[None]:
    """Listen on the port and never respond. With `full` the backlog is full, and not even the kernel responds."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(0 if full else 128)
        while full:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect((LOOPBACK, port))
            except TimeoutError:
                full = False
        yield


@pytest.mark.parametrize("full", [False, True])
def test_a_connection_attempt_without_a_response(visitor: Visitor, database: PostgresServer, full: bool) -> None:
    fill_pools(visitor)
    port = urlsplit(database.url).port or 0
    database.stop()
    with black_hole(port, full=full):
        assert_refused(all_at_once(visitor, 3))
        assert_alive_but_unready(visitor.arena)
        assert_refused(each(visitor))
    database.start()
    assert_served(on_every_worker(visitor.arena.server, lambda: wait_until_served(visitor.write)))
    assert_served(each(visitor))


def test_a_start_without_a_database(serve: Serve, database: PostgresServer, database_url: str) -> None:
    database.stop()
    arena = serve(database_url)
    assert_refused([arena.call("GET", "/posts")])
    assert_alive_but_unready(arena)
    database.start()
    assert_served(on_every_worker(arena.server, lambda: wait_until_served(lambda: arena.call("GET", "/posts"))))
    assert_ready(arena)
    assert_served(each(Visitor(arena)))
