"""The rate limits on the file that the workers of a machine share: exact, bounded, sturdy."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from limits import parse
from limits.strategies import FixedWindowRateLimiter

from app.api.errors import RateLimited
from app.security.rate_limits import LimitName, RateLimits, Window, address_key
from app.security.rate_limits.breaker import Breaker
from app.security.rate_limits.file import counter_path
from app.security.rate_limits.file_store import LmdbStorage
from app.settings import Settings

ADDRESS = "192.0.2.7"
KIB, MIB = 1024, 1024 * 1024
JOIN_SECONDS = 60


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def make_settings(directory: Path | None, **changes: Any) -> Settings:
    values = {
        "ratelimit_enabled": True,
        "ratelimit_dir": str(directory) if directory else None,
        "redis_url": None,
        "database_url": f"sqlite:///{directory}/x.db",
        "jwt_secret_key": "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge",
        "jwt_previous_secret_keys": (),
        "signing_key_files": (),
        "jwt_verification_key_files": (),
        "ratelimit_login_account": "3 per 5 minutes",
        "ratelimit_login_address": "100 per 5 minutes",
        "ratelimit_register": "20 per hour",
        "ratelimit_mail": "5 per hour",
        "ratelimit_default": "600 per minute",
    }
    return cast("Settings", SimpleNamespace(**(values | changes)))


def make_limits(directory: Path, clock: Callable[[], float] = time.time, **changes: Any) -> RateLimits:
    return RateLimits(make_settings(directory, **changes), clock=clock)


def hits(limits: RateLimits, times: int, name: LimitName = LimitName.DEFAULT) -> int:
    """Hit one key `times` times and return how many were allowed."""
    allowed = 0
    for _ in range(times):
        try:
            limits.hit(name, ADDRESS)
        except RateLimited:
            continue
        allowed += 1
    return allowed


def hashed(text: str) -> str:
    """A key as the store gets them: spread evenly."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def the_file(directory: Path) -> Path:
    (path,) = directory.glob("gatepost-limits-*/counters-*.mdb")
    return path


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# One window


def test_a_hit_tells_the_limit_what_remains_and_when_it_ends(tmp_path: Path) -> None:
    clock = Clock()
    limits = make_limits(tmp_path, clock)
    assert limits.hit(LimitName.LOGIN_ACCOUNT, "a") == Window(3, 2, 300)
    clock.now += 100.5
    assert limits.hit(LimitName.LOGIN_ACCOUNT, "a") == Window(3, 1, 200)


def test_the_hit_past_the_limit_is_refused_and_says_when_to_come_back(tmp_path: Path) -> None:
    clock = Clock()
    limits = make_limits(tmp_path, clock)
    for _ in range(3):
        limits.hit(LimitName.LOGIN_ACCOUNT, "a")
    clock.now += 299.9
    with pytest.raises(RateLimited) as caught:
        limits.hit(LimitName.LOGIN_ACCOUNT, "a")
    refusal = caught.value
    assert (refusal.limit, refusal.remaining, refusal.retry_after_seconds) == (3, 0, 1)


def test_a_window_starts_anew_at_its_end_and_refusals_do_not_lengthen_it(tmp_path: Path) -> None:
    clock = Clock()
    limits = make_limits(tmp_path, clock)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    clock.now += 299
    assert hits(limits, 1, LimitName.LOGIN_ACCOUNT) == 0
    clock.now += 1
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3


def test_a_clock_set_back_by_days_does_not_close_a_window_for_days(tmp_path: Path) -> None:
    clock = Clock()
    limits = make_limits(tmp_path, clock)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    clock.now -= 86_400
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3


def test_check_counts_nothing_and_refuses_only_a_full_window(tmp_path: Path) -> None:
    limits = make_limits(tmp_path)
    for _ in range(9):
        limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert hits(limits, 2, LimitName.LOGIN_ACCOUNT) == 2
    limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert hits(limits, 1, LimitName.LOGIN_ACCOUNT) == 1
    with pytest.raises(RateLimited) as caught:
        limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert 295 <= caught.value.retry_after_seconds <= 300


def test_clear_forgets_one_key_and_no_other(tmp_path: Path) -> None:
    limits = make_limits(tmp_path)
    for key in ("a", "b"):
        for _ in range(3):
            limits.hit(LimitName.LOGIN_ACCOUNT, key)
    limits.clear(LimitName.LOGIN_ACCOUNT, "a")
    limits.check(LimitName.LOGIN_ACCOUNT, "a")
    with pytest.raises(RateLimited):
        limits.check(LimitName.LOGIN_ACCOUNT, "b")


def test_names_and_parts_of_keys_are_kept_apart(tmp_path: Path) -> None:
    limits = make_limits(tmp_path)
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ("\ud800",)]
    windows = [limits.hit(LimitName.MAIL, *key) for key in keys]
    windows.append(limits.hit(LimitName.LOGIN_ACCOUNT, "abc"))
    assert [window.limit - window.remaining for window in windows if window] == [1] * 6


def test_limits_that_are_off_never_refuse_and_make_no_file(tmp_path: Path) -> None:
    limits = make_limits(tmp_path, ratelimit_enabled=False)
    assert [limits.hit(LimitName.LOGIN_ACCOUNT, "a") for _ in range(9)] == [None] * 9
    limits.check(LimitName.LOGIN_ACCOUNT, "a")
    limits.clear(LimitName.LOGIN_ACCOUNT, "a")
    assert list(tmp_path.iterdir()) == []


def test_two_objects_of_one_process_share_the_counts(tmp_path: Path) -> None:
    one, other = make_limits(tmp_path), make_limits(tmp_path)
    assert hits(one, 2, LimitName.LOGIN_ACCOUNT) == 2
    assert hits(other, 9, LimitName.LOGIN_ACCOUNT) == 1


def test_the_file_holds_neither_emails_nor_addresses_and_is_for_its_owner_alone(
    tmp_path: Path,
) -> None:
    make_limits(tmp_path).hit(LimitName.LOGIN_ACCOUNT, "alice@example.test", ADDRESS)
    path = the_file(tmp_path)
    content = path.read_bytes()
    assert b"alice" not in content
    assert ADDRESS.encode() not in content
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_the_names_in_the_file_depend_on_the_secret(tmp_path: Path) -> None:
    """Without a secret, whoever reads the file could hash every IPv4 address and compare."""
    one = make_limits(tmp_path)
    other = make_limits(tmp_path, jwt_secret_key="another-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df")
    assert hits(one, 9, LimitName.LOGIN_ACCOUNT) == hits(other, 9, LimitName.LOGIN_ACCOUNT) == 3


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7:51820", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::ffff", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("192.0.2.256", "unknown"),
        ("192.0.2.7, 198.51.100.1", "unknown"),
        ("١٩٢.0.2.7", "unknown"),
        ("1" * 100_000, "unknown"),
        ("\ud800", "unknown"),
    ],
)
def test_an_address_is_counted_as(ip: str, key: str) -> None:
    assert address_key(ip) == key


# Many processes


def in_new_process(work: Callable[..., None], *arguments: object) -> Any:
    """Run `work` in a fresh process, which may fork as it has one thread; return what it sends."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(sender, *arguments))
    process.start()
    sender.close()
    try:
        assert receiver.poll(JOIN_SECONDS), "the processes hang"
        return receiver.recv()
    finally:
        process.join(5)
        process.kill()
        process.join()
        receiver.close()


@contextmanager
def forked(count: int, work: Callable[[Connection], None]) -> Iterator[list[tuple[int, Connection]]]:
    """Fork `count` children that run `work`, as gunicorn does with the app preloaded."""
    children = []
    for _ in range(count):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            try:
                work(sender)
            finally:
                os._exit(0)
        sender.close()
        children.append((pid, receiver))
    try:
        yield children
    finally:
        for pid, receiver in children:
            receiver.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def hit_from_four_times_four(sender: Connection, directory: Path) -> None:
    limits = make_limits(directory, ratelimit_default="1000 per hour")
    before = hits(limits, 10)  # Opens the file, which the children must not inherit.

    def child(answer: Connection) -> None:
        allowed: list[int] = []
        threads = [threading.Thread(target=lambda: allowed.append(hits(limits, 100))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answer.send(sum(allowed))

    with forked(4, child) as children:
        counts = [receiver.recv() for _, receiver in children]
    sender.send((before, counts, hits(limits, 10)))


def test_four_processes_of_four_threads_get_exactly_the_limit(tmp_path: Path) -> None:
    before, counts, after = in_new_process(hit_from_four_times_four, tmp_path)
    assert before + sum(counts) == 1000
    assert len([count for count in counts if count]) > 1
    assert after == 0


def open_then_fork(sender: Connection, directory: Path) -> None:
    storage = LmdbStorage(counter_path(str(directory), "x", MIB), map_bytes=MIB)
    storage.incr("a", 60)

    def child(answer: Connection) -> None:
        inherited = storage._file.opened
        count = storage.incr("a", 60)
        answer.send((inherited is None, storage._file.opened is not None, count))

    with forked(1, child) as [(_, receiver)]:
        sender.send((receiver.recv(), storage.incr("a", 60)))


def test_an_open_file_does_not_cross_a_fork(tmp_path: Path) -> None:
    """Its locks would stay with the parent, and vanish from under the child as the parent ends."""
    assert in_new_process(open_then_fork, tmp_path) == ((True, True, 2), 3)


def kill_in_the_midst_of_a_hit(sender: Connection, directory: Path) -> None:
    path = counter_path(str(directory), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB)
    storage.take("key", 1000, 60)

    def clock_of_a_victim() -> float:
        os.kill(os.getpid(), signal.SIGKILL)  # The store reads the clock while it holds the lock.
        return 0.0

    waits = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            LmdbStorage(path, map_bytes=MIB, clock=clock_of_a_victim).take("key", 1000, 60)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        started = time.perf_counter()
        count, _ = storage.take("key", 1000, 60)
        waits.append((os.WTERMSIG(status), count, time.perf_counter() - started))
    sender.send(waits)


def test_a_worker_killed_while_it_holds_the_lock_blocks_no_other(tmp_path: Path) -> None:
    waits = in_new_process(kill_in_the_midst_of_a_hit, tmp_path)
    assert [(status, count) for status, count, _ in waits] == [(signal.SIGKILL, count) for count in range(2, 22)]
    assert max(seconds for _, _, seconds in waits) < 1


def kill_workers_in_a_hit_loop(sender: Connection, directory: Path) -> None:
    limits = make_limits(directory, ratelimit_default="100000000 per hour")

    def child(answer: Connection) -> None:
        answer.send("up")
        while True:
            hits(limits, 100)

    slowest, count = 0.0, 0
    for _ in range(15):
        with forked(3, child) as children:
            for _, receiver in children:
                receiver.recv()
            time.sleep(0.02)
        started = time.perf_counter()
        window = limits.hit(LimitName.DEFAULT, ADDRESS)
        slowest = max(slowest, time.perf_counter() - started)
        assert window is not None
        assert window.limit - window.remaining > count  # Nothing that was counted is lost.
        count = window.limit - window.remaining
    sender.send((slowest, count))


def test_workers_killed_over_and_over_leave_the_counters_whole(tmp_path: Path) -> None:
    slowest, count = in_new_process(kill_workers_in_a_hit_loop, tmp_path)
    assert slowest < 1
    assert count > 1000


# The file


def test_expired_counts_are_swept_as_new_ones_come(tmp_path: Path) -> None:
    clock = Clock()
    storage = LmdbStorage(counter_path(str(tmp_path), "x", MIB), clock=clock, map_bytes=MIB)
    for number in range(2000):
        storage.take(hashed(f"old {number}"), 9, 60)
    clock.now += 61
    for number in range(2000):
        storage.take(hashed(f"new {number}"), 9, 60)
    assert 2000 <= (storage.reset() or 0) < 2600


def test_a_full_store_drops_what_expires_soonest_and_goes_on(tmp_path: Path) -> None:
    path = counter_path(str(tmp_path), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB, max_entries=1000)
    for number in range(5000):
        assert storage.take(hashed(str(number)), 9, 3600)[0] == 1
    assert storage.get(hashed("4999")) == 1
    assert storage.reset() == 1000


def test_a_full_map_is_started_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = LmdbStorage(counter_path(str(tmp_path), "x", MIB), map_bytes=128 * KIB)
    for number in range(5000):
        assert storage.incr(f"{number:024}", 60) == 1
    assert 1 <= len(warnings_in(caplog)) < 20
    assert "MDB_MAP_FULL" in warnings_in(caplog)[0]


def test_the_storage_serves_the_strategies_of_its_library(tmp_path: Path) -> None:
    clock = Clock()
    path = counter_path(str(tmp_path), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB, clock=clock)
    limiter, limit = FixedWindowRateLimiter(storage), parse("3 per minute")
    assert storage.check()
    assert [limiter.hit(limit, "a") for _ in range(4)] == [True, True, True, False]
    assert not limiter.test(limit, "a")
    clock.now += 10
    assert limiter.get_window_stats(limit, "a") == (clock.now + 50, 0)
    limiter.clear(limit, "a")
    assert limiter.test(limit, "a")
    assert storage.get_expiry("nothing") == clock.now


@pytest.mark.parametrize("content", [b"hello", b"", bytes(MIB), b"\xa5" * MIB])
def test_a_file_that_is_no_store_is_started_anew(tmp_path: Path, content: bytes) -> None:
    path = counter_path(str(tmp_path), "x", MIB)
    path.write_bytes(content)
    path.with_name(path.name + "-lock").touch()
    storage = LmdbStorage(path, map_bytes=MIB)
    assert [storage.incr("a", 60) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("filling", [b"\0", b"\xa5"])
def test_pages_torn_while_in_use_are_started_anew(
    tmp_path: Path, filling: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = counter_path(str(tmp_path), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB)
    for number in range(1000):
        storage.take(f"{number:024}", 9, 60)
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(filling * (100 * 4096))
    assert [storage.incr("a", 60) for _ in range(3)] == [1, 2, 3]
    assert len(warnings_in(caplog)) == 1


def test_a_record_of_another_form_is_no_failure(tmp_path: Path) -> None:
    path = counter_path(str(tmp_path), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB)
    storage._run(lambda txn: txn.put(b"a", b"odd"))
    assert storage.incr("a", 60) == 1


@pytest.mark.parametrize("lost", ["data", "lock", "directory"])
def test_files_swept_away_while_in_use_are_made_anew_and_shared_again(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.security.rate_limits.file.LOOK_AGAIN_SECONDS", 0.0)
    path = counter_path(str(tmp_path), "x", MIB)
    storage = LmdbStorage(path, map_bytes=MIB)
    storage.incr("a", 60)
    lock = path.with_name(path.name + "-lock")
    if lost == "directory":
        path.parent.rename(tmp_path / "gone")
    else:
        (path if lost == "data" else lock).unlink()
    assert storage.incr("a", 60) == 1
    assert storage.incr("a", 60) == 2
    assert path.exists()
    assert lock.exists()


def test_two_threads_that_find_the_file_broken_replace_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = LmdbStorage(counter_path(str(tmp_path), "x", MIB), map_bytes=MIB)
    broken = storage._file.environment()
    storage._file.replace(broken, OSError("broken"))
    assert storage.incr("a", 60) == 1
    storage._file.replace(broken, OSError("broken"))
    assert storage.incr("a", 60) == 2
    assert len(warnings_in(caplog)) == 1


def test_a_store_without_a_directory_says_that_it_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not LmdbStorage(tmp_path / "file" / "below" / "counters-x.mdb").check()


def test_the_file_of_an_earlier_boot_is_removed(tmp_path: Path) -> None:
    path = counter_path(str(tmp_path), "x", MIB)
    old = path.with_name("counters-0000.mdb")
    old.touch()
    LmdbStorage(path, map_bytes=MIB).incr("a", 60)
    assert not old.exists()


def test_a_full_disk_leaves_the_counting_to_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(_handle: int, _offset: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    limits = make_limits(tmp_path)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    with pytest.raises(RateLimited):
        limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    limits.clear(LimitName.LOGIN_ACCOUNT, ADDRESS)
    limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert len(warnings_in(caplog)) == 1
    assert "No space left" in warnings_in(caplog)[0]


def test_a_file_that_can_be_opened_again_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.security.rate_limits.FILE_REST_SECONDS", 0.05)
    limits, other = make_limits(tmp_path), make_limits(tmp_path)
    path = counter_path(str(tmp_path), f"sqlite:///{tmp_path}/x.db", MIB)
    path.parent.chmod(0o777)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    path.parent.chmod(0o700)
    assert hits(other, 3, LimitName.LOGIN_ACCOUNT) == 3

    def clears_in_the_file() -> bool:
        limits.clear(LimitName.LOGIN_ACCOUNT, ADDRESS)
        return hits(other, 1, LimitName.LOGIN_ACCOUNT) == 1

    wait_until(clears_in_the_file)


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


# The directory


def test_each_database_has_its_own_directory(tmp_path: Path) -> None:
    one, other = (counter_path(str(tmp_path), owner, MIB).parent for owner in ("a", "b"))
    assert one != other
    assert one.parent == other.parent == tmp_path


def test_the_directory_is_in_memory_where_there_is_room() -> None:
    path = counter_path(None, "sqlite:///tests/of/the/directory.db", MIB)
    roomy = os.access("/dev/shm", os.W_OK)
    path.parent.rmdir()
    assert path.is_relative_to("/dev/shm") == roomy


def test_the_directory_is_on_disk_where_memory_is_scarce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert counter_path(None, "x", 2**60).is_relative_to(tmp_path)


@pytest.mark.parametrize("trap", ["symlink", "file", "open", "foreign"])
def test_a_directory_that_others_could_write_to_is_refused(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    expected = counter_path(str(tmp_path), "x", MIB).parent
    expected.rmdir()
    if trap == "symlink":
        (tmp_path / "elsewhere").mkdir()
        expected.symlink_to(tmp_path / "elsewhere")
    elif trap == "file":
        expected.touch()
    else:
        expected.mkdir()
        expected.chmod(0o777 if trap == "open" else 0o700)
    if trap == "foreign":
        lstat = Path.lstat

        def lstat_of_another(path: Path) -> os.stat_result:
            found = list(lstat(path))
            found[4] += 1
            return os.stat_result(found)

        monkeypatch.setattr(Path, "lstat", lstat_of_another)
    path = counter_path(str(tmp_path), "x", MIB)
    assert path.is_relative_to(tmp_path / "private")
    assert len(warnings_in(caplog)) == 1


# The breaker


def test_while_a_probe_hangs_no_caller_waits_and_no_second_probe_starts() -> None:
    started, answer = threading.Semaphore(0), threading.Event()

    def probe() -> None:
        started.release()
        answer.wait(10)

    breaker = Breaker("store", 0.02, probe)
    assert breaker.allows()
    breaker.failed(OSError("gone"))
    assert not breaker.allows()
    began = time.perf_counter()
    for _ in range(5):
        time.sleep(0.03)
        threads = [threading.Thread(target=breaker.allows) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.perf_counter() - began < 5
    assert started.acquire(timeout=1)
    assert not started.acquire(blocking=False)
    answer.set()
    wait_until(breaker.allows)


def test_a_probe_that_can_not_start_fails_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    breaker = Breaker("store", 0.0, lambda: None)
    breaker.failed(OSError("gone"))
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", no_thread)
        assert not breaker.allows()
    wait_until(breaker.allows)
