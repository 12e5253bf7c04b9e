"""Keyed hashes for what the service hands out or keeps and must know again: cursors, request fingerprints.

Tokens are not signed here. Each purpose has a key of its own, derived from the service's secrets.
"""

from __future__ import annotations

import hashlib
import hmac

from app.settings import Settings

DIGEST_BYTES = 16


class Signer:
    """Signs with the current secret; knows again what it or a previous secret signed."""

    def __init__(self, settings: Settings) -> None:
        secrets = (settings.jwt_secret_key, *settings.jwt_previous_secret_keys)
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
