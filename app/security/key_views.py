"""The JSON Web Key Set (RFC 7517 section 5), for services that verify our access tokens themselves."""

from __future__ import annotations

from flask import Response
from flask_cors import cross_origin
from marshmallow import Schema, fields

from app.api.access import ANYONE
from app.api.conditional import respond_with_tag
from app.api.fields import OPTIONAL, Choice, OutputSchema
from app.api.responses import written
from app.api.routing import Api
from app.security.signing_keys import KEY_SET_SECONDS, keyring

key_set = Api("key_set", __name__)
# For pages of every origin: the response is public and does not depend on cookies.
CACHE = f"public, max-age={KEY_SET_SECONDS}"


class PublicKey(OutputSchema):
    """A public key that verifies tokens (RFC 7517, 7518 section 6.2, 8037 section 2)."""

    kid = fields.String(
        metadata={
            "description": "The key's thumbprint (RFC 7638), which is the `kid` in the header of its tokens.",
            "example": "ZH6BuTWDeXsCMtSdYH_5ad0nGMfEAY29sfZzacLiUq0",
        }
    )
    use = Choice("sig")
    alg = Choice("ES256", "EdDSA", metadata={"description": "The only algorithm that this key is used with."})
    kty = Choice("EC", "OKP")
    crv = Choice("P-256", "Ed25519")
    x = fields.String(metadata={"description": "Base64url.", "example": "57Omf96oCpnLWuAWO4a_7nwHnAtZJMAlgpz3GtoyF-s"})
    y = fields.String(
        metadata={
            OPTIONAL: True,
            "description": "Base64url. Only with EC.",
            "example": "h887VP58k18eWOu_iWOrJQLvckYhEd8EloADe2TKZkY",
        }
    )


class KeySet(OutputSchema):
    """A JSON Web Key Set."""

    keys = fields.List(fields.Nested(PublicKey))


KEY_SET: Schema = KeySet()


@key_set.operation(
    "GET",
    "/.well-known/jwks.json",
    access=ANYONE,
    answer=written(
        KEY_SET,
        cache=CACHE,
        is_tagged=True,
        headers={"Access-Control-Allow-Origin": "Always `*`: pages of every origin may read the public keys."},
        describes="The keys that verify tokens; empty if tokens are signed with a shared secret (HS256).",
    ),
)
@cross_origin(origins="*", send_wildcard=True, vary_header=False, expose_headers=["ETag"])
def get_key_set() -> Response:
    """Publish the keys that verify access tokens, as a JSON Web Key Set.

    A key is added before the first token is signed with it. Fetch the set again if it lacks the `kid` of a token.
    """
    ring = keyring()
    return respond_with_tag(ring.key_set, ring.key_set_etag)
