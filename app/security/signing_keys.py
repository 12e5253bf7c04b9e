"""The keyring: the key that signs tokens, the keys that verify them, and the published key set (RFC 7517).

Each key has a fixed algorithm. The `alg` of a token must equal it and selects nothing (RFC 8725 section 3.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import orjson

from app.api.conditional import etag_of
from app.api.errors import TokenInvalid
from app.components import components
from app.security.key_files import FileKey, PrivateKey, PublicKey, read_key_file
from app.settings import Settings

# How long clients may cache the key set. A new key must be published for this long before it signs.
KEY_SET_SECONDS = 300
HS256: Literal["HS256"] = "HS256"


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its ID. Only the signing key has a `signer`."""

    kid: str
    algorithm: str
    verifier: bytes | PublicKey = field(repr=False)
    signer: bytes | PrivateKey | None = field(repr=False)
    # The setting and the file that it was read from, for `keys list`.
    source: str
    # The public key as a JSON Web Key (RFC 7517); None for a shared secret.
    jwk: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key that signs, and every key that verifies, by `kid`."""

    signing: Key
    keys: Mapping[str, Key]
    key_set: bytes
    key_set_etag: str


def load_keyring(settings: Settings) -> Keyring:
    """Return the keys that the settings name. Raises InvalidKeyFile if a file changed after the settings were read.

    JWT_SECRET_KEY verifies tokens only if it signs them. With a private key it is used for keyed hashes alone;
    JWT_PREVIOUS_SECRET_KEYS lets it verify tokens during a change to a private key.
    """
    found = list(_keys_of(settings))
    keys = {key.kid: key for key in reversed(found)}
    jwks = [{**key.jwk, "kid": key.kid, "alg": key.algorithm, "use": "sig"} for key in found if key.jwk is not None]
    content = orjson.dumps({"keys": list({jwk["kid"]: jwk for jwk in jwks}.values())})
    return Keyring(found[0], MappingProxyType(keys), content, etag_of(content))


def _keys_of(settings: Settings) -> Iterator[Key]:
    """Yield all keys, the signing key first; a key that is configured twice comes twice."""
    is_strict = settings.is_production
    if settings.jwt_private_key_file:
        signing, *others = settings.signing_key_files
        key = read_key_file(signing, needs_private=True, is_strict=is_strict)
        yield _of_file(key, "JWT_PRIVATE_KEY_FILE", signs=True)
        for path in others:
            yield _of_file(read_key_file(path, is_strict=is_strict), "JWT_PRIVATE_KEY_FILE")
    else:
        yield _of_secret(settings.jwt_secret_key, "JWT_SECRET_KEY", signs=True)
    for secret in settings.jwt_previous_secret_keys:
        yield _of_secret(secret, "JWT_PREVIOUS_SECRET_KEYS")
    for path in settings.jwt_verification_key_files:
        yield _of_file(read_key_file(path, is_strict=is_strict), "JWT_VERIFICATION_KEY_FILES")


def _of_secret(secret: str, source: str, *, signs: bool = False) -> Key:
    # The key ID is a one-way hash of the secret.
    data = secret.encode()
    kid = hashlib.blake2b(data, digest_size=6, person=b"kid").hexdigest()
    return Key(kid, HS256, data, data if signs else None, source)


def _of_file(key: FileKey, source: str, *, signs: bool = False) -> Key:
    signer = key.private if signs else None
    return Key(key.kid, key.algorithm, key.public, signer, f"{source}: {key.path}", key.jwk)


def keyring() -> Keyring:
    """Return the keyring of the current application."""
    return components().keyring


def get_verification_key(header: Mapping[str, Any]) -> Key:
    """Return the key that a token's header names.

    Raises TokenInvalid if the keyring has no such key, or if `alg` is not the key's algorithm.
    """
    kid = header.get("kid")
    key = keyring().keys.get(kid) if isinstance(kid, str) else None
    if key is None or header.get("alg") != key.algorithm:
        raise TokenInvalid
    return key
