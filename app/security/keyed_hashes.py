"""Keyed hashes (BLAKE2, RFC 7693) that authenticate cursors, CSRF tokens and request fingerprints.

They are derived from the service's secrets and separated by purpose. Tokens are signed elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac

from app.security.key_files import FileKey, read_key_file
from app.settings import Settings

DIGEST_BYTES = 16


def service_secrets(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the keyed hashes: the current one first, then the previous ones, which only verify.

    The current one is JWT_SECRET_KEY, even if a private key signs the tokens, so that rotating the private key changes
    no hash. Without it, the secrets are derived from the private keys, which all replicas share.
    """
    own = (settings.jwt_secret_key,) if settings.jwt_secret_key else ()
    keys = [read_key_file(path) for path in (*settings.signing_key_files, *settings.jwt_verification_key_files)]
    derived = [_derived(key) for key in keys if key.private is not None]
    return tuple(dict.fromkeys((*own, *derived, *settings.jwt_previous_secret_keys)))


def _derived(key: FileKey) -> str:
    # One-way, so that a leaked secret of the hashes does not allow signing tokens.
    return hashlib.blake2b(key.private_number, digest_size=32, person=b"service secret").hexdigest()


class KeyedHasher:
    """Signs data with the current secret, and verifies with the current and the previous secrets."""

    def __init__(self, settings: Settings) -> None:
        secrets = service_secrets(settings)
        # Hashed, because BLAKE2 limits keys to 64 bytes and secrets may be longer.
        self._keys = [hashlib.blake2b(secret.encode(), digest_size=32).digest() for secret in secrets]

    def sign(self, purpose: bytes, data: bytes) -> bytes:
        """Return a 16-byte keyed hash of `data`. `purpose`, at most 16 bytes, separates the uses of the secret."""
        return _keyed(self._keys[0], purpose, data)

    def verify(self, purpose: bytes, data: bytes, signature: bytes) -> bool:
        """Return whether `signature` was made for this purpose and data with a current or previous secret."""
        return any(hmac.compare_digest(_keyed(key, purpose, data), signature) for key in self._keys)


def _keyed(key: bytes, purpose: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, key=key, person=purpose).digest()
