"""Problems of a request's form: its syntax, media type, size and fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.errors.base import Problem, bearer_challenge


class MalformedRequest(Problem):
    """The body is not strict JSON in UTF-8, the query string is not percent-encoded UTF-8, the Authorization header
    does not contain exactly one credential, or the request is not valid HTTP. Duplicate names, NaN, numbers beyond the
    range of a float, nesting deeper than 64 and byte order marks are refused too, because parsers interpret them
    differently.
    """

    code, status = "malformed_request", 400
    detail = "The request could not be parsed."
    advice = "Correct the code that builds the request; repeating it has the same result. 'detail' names the error."


class MalformedAuthorization(MalformedRequest):
    """The Authorization header has no valid credentials, or more than one."""

    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": bearer_challenge("invalid_request", self.detail)}


class MethodNotAllowed(Problem):
    """The path exists but does not support the method."""

    code, status = "method_not_allowed", 405
    detail = "The Allow header lists the methods of this resource."
    advice = "Use one of the methods in the Allow header."

    def __init__(self, allowed: str) -> None:
        """`allowed` is the value of the Allow header."""
        self.allowed = allowed
        super().__init__()

    def headers(self) -> dict[str, str]:
        return {"Allow": self.allowed}


class NotAcceptable(Problem):
    """The Accept header excludes JSON, the only format of the API."""

    code, status = "not_acceptable", 406
    detail = "Responses are application/json, which the Accept header excludes."
    advice = "Send 'Accept: application/json', or no Accept header."


class PayloadTooLarge(Problem):
    """The body is larger than the limit of this service."""

    code, status = "payload_too_large", 413
    detail = "The request body is larger than this service accepts."
    advice = "Send a smaller body; repeating the request has the same result."


class UriTooLong(Problem):
    """The path and the query string together are longer than the limit of this service."""

    code, status = "uri_too_long", 414
    title = "URI too long"
    detail = "The request target is longer than this service accepts."
    advice = "Shorten the query string."


class UnsupportedMediaType(Problem):
    """The request has a body that is not declared as JSON in UTF-8, or that is compressed."""

    code, status = "unsupported_media_type", 415
    detail = "Send the body as application/json in UTF-8, without a content coding."
    advice = "Send 'Content-Type: application/json' and no Content-Encoding."

    def headers(self) -> dict[str, str]:
        # RFC 9110 section 15.5.16: a 415 may list what would have been accepted.
        return {"Accept": "application/json", "Accept-Encoding": "identity"}


class ValidationFailed(Problem):
    """The request could be parsed, but some of its fields or query parameters are missing, unknown, of the wrong type
    or out of range.
    """

    code, status = "validation_error", 422
    detail = "The request has invalid fields."
    advice = (
        "'errors' has each invalid field by its name, nested as in the request, with messages to show beside it. "
        "Correct the fields and send the request again."
    )
    example_members = {
        "errors": {"email": ["Not a valid email address."], "password": ["Must have at least 8 characters."]}
    }

    def __init__(self, errors: Mapping[str, Any]) -> None:
        """`errors` maps field names as sent to lists of messages, nested as sent."""
        self.errors = dict(errors)
        count = len(self.errors)
        super().__init__(f"The request has {count} invalid field{'' if count == 1 else 's'}.")

    def members(self) -> dict[str, Any]:
        return {"errors": self.errors}


class HeadersTooLarge(Problem):
    """One header field, or all of them together, are larger than the limit of this service."""

    code, status = "headers_too_large", 431
    detail = "The request headers are larger than this service accepts."
    advice = "Send fewer or shorter headers; look for a cookie or a token that has grown."
