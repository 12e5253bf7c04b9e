"""What many routes have in common: headers, parameters, and the kinds of credentials."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def _header(description: str, schema: Json, *, required: bool = False) -> Json:
    return {"description": description, "required": required, "schema": schema}


def cache_control(*values: str) -> Json:
    """Return the Cache-Control header of an answer that has one of `values` in it."""
    return _header("Whether a cache may keep the answer.", {"type": "string", "enum": list(values)}, required=True)


_COUNT = {"type": "integer", "minimum": 0}

HEADERS: dict[str, Json] = {
    "X-Request-ID": _header(
        "Names this request in the logs: the id that the caller sent, if it is fit for that, or a new one.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$", "examples": ["7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"]},
        required=True,
    ),
    "ETag": _header(
        "The version of what is shown: for If-None-Match, and of a single resource for If-Match.",
        {"type": "string", "pattern": '^(W/)?"[0-9a-f]+"$', "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
        required=True,
    ),
    "Location": _header(
        "Where the new resource is.",
        {"type": "string", "format": "uri-reference", "examples": ["/api/v1/posts/1"]},
        required=True,
    ),
    "Link": _header(
        "The neighbouring pages as `next` and `prev`, with numbered pages also `first` and `last` (RFC 8288).",
        {"type": "string", "examples": ['</api/v1/posts?page=2>; rel="next"']},
    ),
    "X-RateLimit-Limit": _header(
        "How many requests the window allows. Absent where limits are off.", {**_COUNT, "examples": [600]}
    ),
    "X-RateLimit-Remaining": _header("How many of them are left.", {**_COUNT, "examples": [599]}),
    "X-RateLimit-Reset": _header("Seconds until the window opens anew.", {**_COUNT, "examples": [60]}),
    "Idempotency-Replayed": _header(
        "There when this is the first answer to the Idempotency-Key, given again.",
        {"type": "string", "enum": ["true"]},
    ),
    "WWW-Authenticate": _header(
        "The scheme to use, and what is wrong with the token that came (RFC 6750 section 3).",
        {"type": "string", "examples": ['Bearer realm="gatepost"']},
        required=True,
    ),
    "Retry-After": _header("Seconds to wait before trying again.", {**_COUNT, "examples": [1]}, required=True),
    # For whatever carries a token or private data, and every problem.
    "Cache-Control": cache_control("no-store"),
    "Accept": _header("The media type to send.", {"type": "string", "enum": ["application/json"]}),
}

IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "description": "Entity tags already held: when the present one is among them, the answer is 304 without a body.",
    "schema": {"type": "string", "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
}
IF_MATCH: Json = {
    "name": "If-Match",
    "description": "The entity tag last read: when the resource has another one by now, the answer is 412.",
    "schema": {"type": "string", "examples": ['"1f0b6c1d2e3f4a5b6c7d8e9fa0b1c2"']},
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "description": "Visible ASCII. For 24 hours the same key, caller and body give the first answer again.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]+$",
        "examples": ["3f2b8c6e-1d4a-4f7b-9c0e-5a6b7c8d9e0f"],
    },
}

CSRF_TOKEN: Json = {
    "name": "X-CSRF-TOKEN",
    "description": "The `csrf_token` that came with the cookie; the cookie counts only with it.",
    # No pattern: without the cookie it is not looked at, whatever it holds.
    "schema": {"type": "string", "examples": ["5d41402abc4b2a76b9719d911017c592"]},
}

SECURITY_SCHEMES: dict[str, Json] = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a login, a registration or a refresh.",
    },
    "refreshToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `refresh_token` of a login, a registration or a refresh; the body may bring it instead.",
    },
    "refreshCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Secure-gatepost_refresh",
        "description": 'The refresh token as a cookie, for `"cookie": true`; counts only with `X-CSRF-TOKEN`. '
        "Over plain HTTP, as on localhost, its name is `gatepost_refresh`.",
    },
}


def header_refs(*names: str) -> Json:
    """Return the members of `headers` for headers that are the same everywhere."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
