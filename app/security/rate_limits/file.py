"""The file of the local counters: where it lies, whose it is, how it is opened and replaced.

Knows nothing of limits, counters or HTTP: it hands out an open LMDB environment.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What only a fresh file mends. Other errors may be passing, and the counters of the other workers
# are worth keeping.
BROKEN = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PageNotFoundError,
    lmdb.PageFullError,
    lmdb.CursorFullError,
    lmdb.TxnFullError,
    lmdb.PanicError,
    lmdb.MapFullError,
)


def counter_path(parent: str | None, owner: str, room_bytes: int) -> Path:
    """Return the path of the counters of `owner`, in a directory of our own below `parent`.

    The name holds the boot, because a file that is never synced may be torn after a crash of the
    machine.
    """
    base = Path(parent) if parent else _memory_directory(room_bytes)
    digest = hashlib.blake2b(f"{os.geteuid()} {owner}".encode(), digest_size=8).hexdigest()
    # Our own part of the path is not resolved: a symbolic link there is someone's trap.
    directory = base.resolve() / f"gatepost-limits-{digest}"
    try:
        claim_directory(directory)
    except OSError as error:
        directory = _private_directory()
        logger.warning("The rate limit store goes to %s instead: %s", directory, error)
    return directory / f"counters-{_boot()}.mdb"


def claim_directory(directory: Path) -> None:
    """Create `directory` for this user alone. Raises OSError if it is not, and can't be.

    Whoever may write to it could lock any user out, or feed LMDB a file that crashes the worker.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "it is not a directory of ours alone", str(directory)) from None


def _memory_directory(room_bytes: int) -> Path:
    """Prefer memory, if there is room: the counters are worth nothing after a reboot."""
    memory = Path("/dev/shm")  # noqa: S108 - below it, only a directory of our own is used
    with suppress(OSError):
        room = os.statvfs(memory)
        if os.access(memory, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= 2 * room_bytes:
            return memory
    return Path(tempfile.gettempdir())


def _private_directory() -> Path:
    """Make a directory that no one can guess, for this process and its forks."""
    directory = tempfile.mkdtemp(prefix="gatepost-limits-")
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(directory, ignore_errors=True) if os.getpid() == owner else None)
    return Path(directory)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "any"


class CounterFile:
    """One LMDB file and its lock file, open once in a process: LMDB forbids a second time.

    An open environment must not cross a fork: the child forgets it, and opens its own at the first
    use.
    """

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        self.lock_path = path.with_name(path.name + "-lock")
        self._map_bytes = map_bytes
        self._inodes: tuple[int, ...] = ()
        self._look_again_at = 0.0
        self.opened: lmdb.Environment | None = None

    def environment(self) -> lmdb.Environment:
        """Return the open environment. Raises lmdb.Error or OSError where there can be none."""
        opened = self.opened
        if opened is not None and time.monotonic() < self._look_again_at:
            return opened
        with _opening:
            opened = self.opened
            if opened is None or self._inodes != self._inodes_on_disk():
                opened = self._open()
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
            return opened

    def replace(self, broken: lmdb.Environment, error: Exception) -> None:
        """Start anew with an empty file; the other processes notice within a second."""
        with _opening:
            if self.opened is not broken:
                return  # Another thread has done so already.
            logger.warning("The rate limit store %s is started anew: %s", self.path, error)
            with self._alone():
                if self._inodes == self._inodes_on_disk():
                    self._unlink()
            self.opened = None

    def _open(self) -> lmdb.Environment:
        # Not closed by hand: a transaction of another thread may still be using it, and keeps it
        # alive till then.
        self.opened = None
        claim_directory(self.path.parent)
        with self._alone():
            for other in self.path.parent.glob("counters-*.mdb*"):
                if not other.name.startswith(self.path.name):
                    other.unlink(missing_ok=True)  # Of an earlier boot.
            if not self._is_whole():
                self._unlink()
            try:
                opened = self._open_or_create()
            except BROKEN as error:
                logger.warning("The rate limit store %s is started anew: %s", self.path, error)
                self._unlink()
                opened = self._open_or_create()
            self._inodes = self._inodes_on_disk()
        self.opened = opened
        return opened

    def _is_whole(self) -> bool:
        """Whether both files are there: with one gone, two processes could use two locks."""
        try:
            return self.lock_path.exists() and self.path.stat().st_size == self._map_bytes
        except OSError:
            return False

    def _open_or_create(self) -> lmdb.Environment:
        created = not self.path.exists()
        # No sync: after a crash of the machine the counters start anew, and a crash of a process
        # loses nothing.
        # A writable map makes a commit a few stores, so that Python's lock is not passed on in the
        # midst of it.
        environment = lmdb.open(
            str(self.path),
            map_size=self._map_bytes,
            subdir=False,
            mode=0o600,
            sync=False,
            metasync=False,
            writemap=True,
            readahead=False,
            max_spare_txns=2,
        )
        if created:
            self._reserve(environment)
        return environment

    def _reserve(self, environment: lmdb.Environment) -> None:
        """Take the disk space now: a full disk under a writable map is SIGBUS to a worker."""
        if not hasattr(os, "posix_fallocate"):
            return
        handle = os.open(self.path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, self._map_bytes)
        except OSError as error:
            if error.errno in NO_ROOM:
                environment.close()
                self._unlink()
                raise
        finally:
            os.close(handle)

    def _inodes_on_disk(self) -> tuple[int, ...]:
        try:
            return (self.path.stat().st_ino, self.lock_path.stat().st_ino)
        except OSError:
            return ()

    def _unlink(self) -> None:
        self.path.unlink(missing_ok=True)
        self.lock_path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off the other processes that would open, create or replace the file now."""
        handle = os.open(self.path.with_suffix(".open"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


_files: WeakValueDictionary[tuple[Path, int], CounterFile] = WeakValueDictionary()
_opening = threading.Lock()


def _forget_parent() -> None:
    """Drop in a forked child what the parent had open, and the lock it may have held."""
    global _opening
    _opening = threading.Lock()
    for file in list(_files.values()):
        file.opened = None


os.register_at_fork(after_in_child=_forget_parent)


def counter_file(path: Path, map_bytes: int) -> CounterFile:
    """Return the one CounterFile of this process for `path`."""
    with _opening:
        return _files.setdefault((path, map_bytes), CounterFile(path, map_bytes))
