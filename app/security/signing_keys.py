"""The keys of tokens: which one signs, which ones verify, and the set of public ones that others may know.

Each key has one algorithm from the start; what a token's header says of it is compared, never obeyed (RFC 8725).
Owns the keyring and the key set. Must not know what is in a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import orjson
from flask import Flask

from app.api.conditional import etag_of
from app.api.errors import TokenInvalid
from app.components import components, components_of
from app.security.key_files import FileKey, PrivateKey, PublicKey, read_key_file
from app.settings import Settings

KEYRING = "gatepost.keyring"
# How long others may keep the set: a new key must be in it for this long before anybody signs with it.
KEY_SET_SECONDS = 300
HS256: Literal["HS256"] = "HS256"


@dataclass(frozen=True, slots=True)
class Key:
    """A key under its name. Only one that may sign holds what signing takes."""

    kid: str
    algorithm: str
    verifier: bytes | PublicKey = field(repr=False)
    signer: bytes | PrivateKey | None = field(repr=False)
    # Where it is from, for an operator.
    source: str
    # Its public half as JSON, where it has one (RFC 7517).
    jwk: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key that signs, and every key that tokens may be signed with, by `kid`."""

    signing: Key
    keys: Mapping[str, Key]
    key_set: bytes
    key_set_etag: str

    def find(self, kid: object) -> Key | None:
        """Return the key of this name if there is one."""
        return self.keys.get(kid) if isinstance(kid, str) else None


def load_keyring(settings: Settings) -> Keyring:
    """Return the keys that these settings name. Raises UnfitKeyFile for a file that has changed since they were read.

    JWT_SECRET_KEY verifies tokens only where it signs them: beside a private key it serves other purposes, and
    an overlap with it is asked for by JWT_PREVIOUS_SECRET_KEYS.
    """
    found = list(_keys_of(settings))
    keys = {key.kid: key for key in reversed(found)}
    jwks = [{**key.jwk, "kid": key.kid, "alg": key.algorithm, "use": "sig"} for key in found if key.jwk is not None]
    content = orjson.dumps({"keys": list({jwk["kid"]: jwk for jwk in jwks}.values())})
    return Keyring(found[0], MappingProxyType(keys), content, etag_of(content))


def _keys_of(settings: Settings) -> Iterator[Key]:
    """Every key with the one that signs first; one that is named twice comes twice."""
    is_strict = settings.is_production
    if settings.jwt_private_key_file:
        signing, *beside = settings.signing_key_files
        key = read_key_file(signing, needs_private=True, is_strict=is_strict)
        yield _of_file(key, "JWT_PRIVATE_KEY_FILE", signs=True)
        for path in beside:
            yield _of_file(read_key_file(path, is_strict=is_strict), "JWT_PRIVATE_KEY_FILE")
    else:
        yield _of_secret(settings.jwt_secret_key, "JWT_SECRET_KEY", signs=True)
    for secret in settings.jwt_previous_secret_keys:
        yield _of_secret(secret, "JWT_PREVIOUS_SECRET_KEYS")
    for path in settings.jwt_verification_key_files:
        yield _of_file(read_key_file(path, is_strict=is_strict), "JWT_VERIFICATION_KEY_FILES")


def _of_secret(secret: str, source: str, *, signs: bool = False) -> Key:
    # A name that tells nothing of the secret.
    data = secret.encode()
    kid = hashlib.blake2b(data, digest_size=6, person=b"kid").hexdigest()
    return Key(kid, HS256, data, data if signs else None, source)


def _of_file(key: FileKey, source: str, *, signs: bool = False) -> Key:
    signer = key.private if signs else None
    return Key(key.kid, key.algorithm, key.public, signer, f"{source}: {key.path}", key.jwk)


def keyring() -> Keyring:
    """Return the keyring of this application."""
    return components().keyring


def key_of(header: Mapping[str, Any]) -> Key:
    """Return the key that a token's header names, if its algorithm is the one it says.

    Raises TokenInvalid for a key that is not in the configured set.
    """
    key = keyring().find(header.get("kid"))
    if key is None or header.get("alg") != key.algorithm:
        raise TokenInvalid
    return key


def init_app(app: Flask, settings: Settings) -> None:
    """Read the keys, once: no request reads a file or builds a key."""
    components_of(app).keyring = load_keyring(settings)
