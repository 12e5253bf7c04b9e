"""Problems of a resource's state: 404, 409, 410 and 412, and those of Idempotency-Key."""

from __future__ import annotations

from app.api.errors.base import NOT_DONE, WAIT, Problem


class NotFound(Problem):
    """No route has this path, no resource has this id, or the caller may not know that the resource exists, as with the
    draft of another user.
    """

    code, status = "not_found", 404
    detail = "There is no such resource."
    advice = "Check the path. Remove the resource from your interface if it is shown there."


class EmailTaken(Problem):
    """Another account has this email address; upper and lower case are not distinguished."""

    code, status = "email_taken", 409
    detail = "An account with this email address exists."
    advice = "Offer a login, or ask for another address."


class LastAdmin(Problem):
    """The change would leave the service without an active administrator."""

    code, status = "last_admin", 409
    title = "Last administrator"
    detail = "The last active administrator cannot be removed: make another user an administrator first."
    advice = "Make another user an administrator first."


class Conflict(Problem):
    """The current state of the data does not allow the change."""

    code, status = "conflict", 409
    detail = "The request conflicts with the current state of the resource."
    advice = "Read the resource again, show what has changed, and let the user decide."


class IdempotencyInProgress(Problem):
    """Another request with the same Idempotency-Key is still running."""

    code, status = "idempotency_in_progress", 409
    title = "Request in progress"
    detail = "A request with this Idempotency-Key is still running."
    advice = f"{WAIT} The response will be that of the first request."
    retry_after_seconds = 1


class LinkExpired(Problem):
    """The token of a mailed link was used before, or its lifetime is over."""

    code, status = "link_expired", 410
    detail = "This link was used before or has expired: request a new one."
    advice = "Offer to send a new email."


class PreconditionFailed(Problem):
    """The ETag in If-Match is not that of the current resource, because it was changed after you had read it; or If-
    None-Match excludes the current resource.
    """

    code, status = "precondition_failed", 412
    detail = "The resource has changed since it was read, or does not meet the precondition of the request."
    advice = f"{NOT_DONE} Read the resource again, merge your change, and send it with the new ETag."


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used before for a request with another body or on another route."""

    code, status = "idempotency_key_reused", 422
    title = "Idempotency-Key reused"
    detail = "This Idempotency-Key was used for a different request: use a new one."
    advice = "Generate a new key for each resource to create, and repeat a key only with the same request."
