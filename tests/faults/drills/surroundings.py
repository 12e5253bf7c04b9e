"""Faults around the application: Redis killed, frozen or full, a full disk, slow clients."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
import redis

from gatepost.testing.services import LOOPBACK, ServiceMissing
from gatepost.testing.services.postgres import Account
from gatepost.testing.services.process import private_folder
from tests.conftest import API, migrate
from tests.faults.drills.stage import NO_LIMITS, Drill, Figures, Stage, engine_of
from tests.support.services.nginx import NginxServer
from tests.support.services.redis import RedisServer

SLOW_CLIENTS, SLOW_SECONDS = 40, 0.25
DISK_BYTES = 48 * 2**20


def _without_redis(
    stage: Stage, name: str, begin: Callable[[RedisServer], None], end: Callable[[RedisServer], None]
) -> Figures:
    """Cause a fault of Redis. No request may fail, and readiness may report Redis as unavailable but must stay 200."""
    seconds = stage.pick(1, 10)
    with Drill(stage.limited, stage.engine) as drill:
        drill.wait(lambda: drill.ready.redis)
        begin(stage.redis)
        drill.wait(lambda: "unavailable" in drill.ready.redis)
        time.sleep(seconds)
        end(stage.redis)
        # Each worker must notice by itself that Redis is available again.
        drill.wait(lambda: {(o.document or {}).get("redis") for o in drill.ready.outcomes[-20:]} == {"ok"})
        drill.begin_fault()
        drill.end_fault()
    remark = f"Redis according to readiness: {', '.join(sorted(drill.ready.redis))}"
    return drill.figures(f"Redis {name}", "PostgreSQL", f"for {seconds} s", remark)


def redis_stopped(stage: Stage) -> Figures:
    """SIGKILL Redis."""
    return _without_redis(stage, "killed -9", RedisServer.kill, RedisServer.start)


def redis_frozen(stage: Stage) -> Figures:
    """SIGSTOP Redis."""
    return _without_redis(stage, "frozen", RedisServer.freeze, RedisServer.thaw)


def _set_max_memory(server: RedisServer, size: str) -> bool:
    """Set maxmemory; return whether Redis then accepts writes."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", size)
        try:
            return bool(client.set("probe", "1"))
        except redis.exceptions.OutOfMemoryError:
            return False


def _fill(server: RedisServer) -> None:
    assert not _set_max_memory(server, "1")


def _empty(server: RedisServer) -> None:
    assert _set_max_memory(server, "0")


def redis_full(stage: Stage) -> Figures:
    """Make Redis refuse all writes: maxmemory is reached, and its policy allows no eviction."""
    return _without_redis(stage, "full", _fill, _empty)


class MountNotPermitted(ServiceMissing):
    """A file system for the drill cannot be mounted: that requires root, or sudo without a password."""


class Disk:
    """A small file system that can be filled. A context manager. Raises MountNotPermitted."""

    def __init__(self, account: Account) -> None:
        self._parent = private_folder("disk")
        self.folder = self._parent / "disk"
        self.folder.mkdir()
        account.give(self._parent)
        owner = self._parent.stat()
        options = f"size={DISK_BYTES},mode=700,uid={owner.st_uid},gid={owner.st_gid}"
        if not self._run("mount", "-t", "tmpfs", "-o", options, "tmpfs"):
            raise MountNotPermitted("The drill that fills a disk requires root, or sudo without a password.")

    def _run(self, *command: str) -> bool:
        rights = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
        try:
            subprocess.run([*rights, *command, str(self.folder)], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *exception: object) -> None:
        self._run("umount", "-l")

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Fill the file system completely."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass

    def clear(self) -> None:
        """Free the space again."""
        self._ballast.unlink()


def _fill_disk(stage: Stage, disk: Disk, url: str, database: str) -> Figures:
    seconds = stage.pick(1, 10)
    with stage.lend(url) as gatepost, Drill(gatepost, engine_of(url)) as drill:
        time.sleep(0.5)
        disk.fill()
        drill.wait(lambda: not all(outcome.succeeded for outcome in drill.outcomes))
        time.sleep(seconds)
        disk.clear()
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("disk full", database, f"for {seconds} s")


def sqlite_disk_full(stage: Stage) -> Figures:
    """Fill the file system of the database and its WAL."""
    with Disk(Account()) as disk:
        url = f"sqlite:///{disk.folder / 'gatepost.db'}"
        migrate(url)
        return _fill_disk(stage, disk, url, "SQLite")


def postgres_disk_full(stage: Stage) -> Figures:
    """Fill the file system of the tables. The WAL is on another one: PostgreSQL stops if it cannot write it."""
    with Disk(Account()) as disk:
        url = stage.postgres.create_database("cramped")
        connection = psycopg2.connect(stage.postgres.url)
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            try:
                cursor.execute("CREATE TABLESPACE small LOCATION %s", [str(disk.folder)])
                cursor.execute("ALTER DATABASE cramped SET TABLESPACE small")
                migrate(url)
                return _fill_disk(stage, disk, url, "PostgreSQL")
            finally:
                stage.postgres.drop_database("cramped")
                cursor.execute("DROP TABLESPACE small")


@contextmanager
def slow_clients(port: int, token: str) -> Iterator[list[socket.socket]]:
    """Run clients that send a post byte by byte, and as many that read a list slowly."""
    head = f"{API}/posts HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n"
    writing = f"POST {head}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n".encode()
    reading = f"GET {head.replace('/posts ', '/posts?limit=100 ')}\r\n".encode()
    finished = threading.Event()
    with ExitStack() as stack:
        clients = []
        for number in range(2 * SLOW_CLIENTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect((LOOPBACK, port))
            client.sendall(reading if number % 2 else writing)
            client.setblocking(False)
            clients.append(client)

        def run_clients() -> None:
            while not finished.wait(SLOW_SECONDS):
                for number, client in enumerate(clients):
                    with contextlib.suppress(OSError):
                        _ = client.recv(16) if number % 2 else client.send(b" ")

        thread = threading.Thread(target=run_clients)
        thread.start()
        try:
            yield clients
        finally:
            finished.set()
            thread.join()


def slow(stage: Stage) -> Figures:
    """Slow clients of nginx, as in production. They must not occupy threads of the application."""
    seconds = stage.pick(2, 15)
    with (
        NginxServer(f"{LOOPBACK}:{stage.server.port}", env=NO_LIMITS) as nginx,
        Drill(stage.server, stage.engine, port=nginx.port) as drill,
    ):
        with slow_clients(nginx.port, drill.writers[0].headers["Authorization"]):
            time.sleep(seconds)
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("slow clients", "PostgreSQL", f"{SLOW_CLIENTS} that read and {SLOW_CLIENTS} that write")


DRILLS = (redis_stopped, redis_frozen, redis_full, sqlite_disk_full, postgres_disk_full, slow)
