"""Keyed hashes for what the service hands out or keeps and must know again: cursors, request fingerprints.

Tokens are not signed here. Each purpose has a key of its own, derived from the service's secrets.
"""

from __future__ import annotations

import hashlib
import hmac

from app.security.key_files import FileKey, read_key_file
from app.settings import Settings

DIGEST_BYTES = 16


def service_secrets(settings: Settings) -> tuple[str, ...]:
    """Return what the service's keyed hashes hang on: the present secret first, then those still known.

    It is JWT_SECRET_KEY, also where a private key signs the tokens: to rotate that one then changes no hash. Without
    it the private keys stand in, so that all replicas have the same secret.
    """
    own = (settings.jwt_secret_key,) if settings.jwt_secret_key else ()
    keys = [read_key_file(path) for path in (*settings.signing_key_files, *settings.jwt_verification_key_files)]
    derived = [_derived(key) for key in keys if key.private is not None]
    return tuple(dict.fromkeys((*own, *derived, *settings.jwt_previous_secret_keys)))


def _derived(key: FileKey) -> str:
    # One way: whoever learns a secret of the hashes still signs no token.
    return hashlib.blake2b(key.private_number, digest_size=32, person=b"service secret").hexdigest()


class KeyedHasher:
    """Signs with the current secret; knows again what it or a previous secret signed."""

    def __init__(self, settings: Settings) -> None:
        secrets = service_secrets(settings)
        # A digest as key: BLAKE2's own keys are limited to 64 bytes, secrets are not.
        self._keys = [hashlib.blake2b(secret.encode(), digest_size=32).digest() for secret in secrets]

    def sign(self, purpose: bytes, data: bytes) -> bytes:
        """Return a 16-byte keyed hash of `data`; `purpose` is at most 16 bytes."""
        return _keyed(self._keys[0], purpose, data)

    def verify(self, purpose: bytes, data: bytes, signature: bytes) -> bool:
        """Whether `signature` was made for this purpose and data with a secret that is still valid."""
        return any(hmac.compare_digest(_keyed(key, purpose, data), signature) for key in self._keys)


def _keyed(key: bytes, purpose: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, key=key, person=purpose).digest()
