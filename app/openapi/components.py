"""The components that many operations share: headers, header parameters and security schemes."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def _header(description: str, schema: Json, *, required: bool = False) -> Json:
    return {"description": description, "required": required, "schema": schema}


def cache_control(*values: str) -> Json:
    """Return the Cache-Control header of a response that has one of `values`."""
    return _header("Whether a cache may store the response.", {"type": "string", "enum": list(values)}, required=True)


_COUNT = {"type": "integer", "minimum": 0}

HEADERS: dict[str, Json] = {
    "X-Request-ID": _header(
        "The id of this request in the logs: the one that the client sent, if it is valid, or else a new one.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$", "examples": ["7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"]},
        required=True,
    ),
    "ETag": _header(
        "The version of the representation, for If-None-Match and, for a single resource, If-Match.",
        {"type": "string", "pattern": '^(W/)?"[0-9a-f]+"$', "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
        required=True,
    ),
    "Location": _header(
        "The URL of the new resource.",
        {"type": "string", "format": "uri-reference", "examples": ["/api/v1/posts/1"]},
        required=True,
    ),
    "Link": _header(
        "The pages `next` and `prev`, and with `page` also `first` and `last` (RFC 8288).",
        {"type": "string", "examples": ['</api/v1/posts?page=2>; rel="next"']},
    ),
    "X-RateLimit-Limit": _header(
        "The number of requests allowed in the window. Absent if rate limits are off.", {**_COUNT, "examples": [600]}
    ),
    "X-RateLimit-Remaining": _header("The number of requests left in the window.", {**_COUNT, "examples": [599]}),
    "X-RateLimit-Reset": _header("Seconds until the window ends.", {**_COUNT, "examples": [60]}),
    "Idempotency-Replayed": _header(
        "Present if this is the stored response to an earlier request with the same Idempotency-Key.",
        {"type": "string", "enum": ["true"]},
    ),
    "WWW-Authenticate": _header(
        "The authentication scheme and, if a token was sent, the error in it (RFC 6750 section 3).",
        {"type": "string", "examples": ['Bearer realm="gatepost"']},
        required=True,
    ),
    "Retry-After": _header("Seconds to wait before the next attempt.", {**_COUNT, "examples": [1]}, required=True),
    # Of responses with a token or private data, and of every problem.
    "Cache-Control": cache_control("no-store"),
    "Accept": _header("The media type of request bodies.", {"type": "string", "enum": ["application/json"]}),
}

HEADER_PARAMETERS: tuple[Json, ...] = (
    {
        "name": "If-Match",
        "description": "The entity tag of the version to change. If the resource has another one, the response is 412.",
        "schema": {"type": "string", "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
    },
    {
        "name": "If-None-Match",
        "description": "Entity tags of stored responses. If one of them is current, the response is 304 without a "
        "body.",
        "schema": {"type": "string", "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
    },
    {
        "name": "Idempotency-Key",
        "description": "Visible ASCII. For 24 hours, a request with the same key, caller and body gets the same "
        "response.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": "^[!-~]+$",
            "examples": ["3f2b8c6e-1d4a-4f7b-9c0e-5a6b7c8d9e0f"],
        },
    },
    {
        "name": "X-CSRF-TOKEN",
        "description": "The `csrf_token` of the response that set the cookie. Without it the cookie is ignored.",
        # No pattern, because any value is accepted if no cookie is sent.
        "schema": {"type": "string", "examples": ["5d41402abc4b2a76b9719d911017c592"]},
    },
)

SECURITY_SCHEMES: dict[str, Json] = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` from a login, a registration or a refresh.",
    },
    "refreshToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `refresh_token` from a login, a registration or a refresh. The body can have it instead.",
    },
}


def refresh_cookie_scheme(name: str) -> Json:
    """Return the security scheme of the refresh token's cookie, whose name without prefix is `name`."""
    return {
        "type": "apiKey",
        "in": "cookie",
        "name": f"__Secure-{name}",
        "description": 'The refresh token in a cookie, after a request with `"cookie": true`. Requires `X-CSRF-TOKEN`. '
        f"Without HTTPS, as on localhost, its name is `{name}`.",
    }


def header_refs(*names: str) -> Json:
    """Return references to these headers, for the `headers` of a response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
