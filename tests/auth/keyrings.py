"""Helpers for the tests of keys: key files, applications that use them, and forged tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from flask import Flask

from app.components import components_of
from app.security.key_files import FileKey, read_key_file
from app.security.signing_keys import Keyring
from tests.auth.support import claims_of, encoded

ALGORITHMS = ["ES256", "EdDSA"]
Private = (
    ec.EllipticCurvePrivateKey | Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey | x25519.X25519PrivateKey
)


def new_key(algorithm: str) -> Private:
    """Return a private key for an algorithm; some of them are not supported by the application."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    curves: dict[str, ec.EllipticCurve] = {
        "ES256": ec.SECP256R1(),
        "ES384": ec.SECP384R1(),
        "ES512": ec.SECP521R1(),
        "ES256K": ec.SECP256K1(),
    }
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    makers: dict[str, Callable[[], Private]] = {
        "EdDSA": Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
        "X25519": x25519.X25519PrivateKey.generate,
    }
    return makers[algorithm]()


def private_pem(key: Private, encryption: KeySerializationEncryption | None = None) -> bytes:
    """Return a private key in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public_pem(key: Private) -> bytes:
    """Return the public key of a private key in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_key(path: Path, algorithm: str = "ES256") -> FileKey:
    """Write a new private key to `path` and its public key to `path`.pub."""
    key = new_key(algorithm)
    path.write_bytes(private_pem(key))
    path.chmod(0o600)
    Path(f"{path}.pub").write_bytes(public_pem(key))
    return read_key_file(str(path))


def ring_of(app: Flask) -> Keyring:
    """Return the keyring of an application."""
    ring: Keyring = components_of(app).keyring
    return ring


def forge(
    token: str, key: Any, algorithm: str, headers: Mapping[str, Any] | None = None, signs_as: str | None = None
) -> str:
    """Sign the claims of a token with `key` and another header; `signs_as` is the algorithm used if not `algorithm`."""
    header = jwt.get_unverified_header(token) | {"alg": algorithm} | dict(headers or {})
    signer = jwt.get_algorithm_by_name(signs_as or algorithm)
    text = f"{encoded({k: v for k, v in header.items() if v is not None})}.{encoded(claims_of(token))}"
    return f"{text}.{encoded(signer.sign(text.encode(), key))}"


def jwks(app: Flask) -> list[dict[str, str]]:
    """Return the published keys of an application."""
    response = app.test_client().get("/.well-known/jwks.json")
    assert response.status_code == 200
    keys: list[dict[str, str]] = json.loads(response.data)["keys"]
    return keys
