"""What the page of each problem says beyond the table of problems: when it comes, and what a client should do then.

Must not know any feature: it speaks to whoever met the code in an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Explanation(NamedTuple):
    """Two short paragraphs for a person who writes a client."""

    when: str
    advice: str


_WAIT = "Wait as long as the Retry-After header says and send the same request again."
_NOT_DONE = "Nothing was done. "

EXPLANATIONS: Mapping[str, Explanation] = {
    "malformed_request": Explanation(
        "The body is not strict JSON in UTF-8, the query string is not percent-encoded UTF-8, the Authorization header "
        "does not hold exactly one credential, or the bytes are not valid HTTP. Parsers disagree about names that "
        "stand twice, NaN, numbers beyond any float, nesting beyond 64 and byte order marks: these are refused too.",
        "Mend the program that writes the request: sending it again changes nothing. 'detail' says what was wrong.",
    ),
    "authentication_required": Explanation(
        "The route asks for a token, and the request brought none, or credentials of a scheme other than Bearer.",
        "Send 'Authorization: Bearer' with an access token, from a registration, a login or a refresh.",
    ),
    "token_expired": Explanation(
        "The token was good, and its time is over: access tokens live for minutes, refresh tokens for days.",
        "For an access token, refresh once and repeat the request with the new one. For a refresh token, ask the user "
        "to log in.",
    ),
    "token_invalid": Explanation(
        "The token was not issued by this service, was altered, or is of the wrong kind: a refresh token where an "
        "access token belongs, say.",
        "Throw the token away and ask the user to log in. Look for a mix-up of tokens or of environments.",
    ),
    "token_revoked": Explanation(
        "The session behind the token has ended: by logout, by a change of password, by an administrator, or because a "
        "refresh token that had been used before came back, which is what theft looks like.",
        "Throw both tokens away and ask the user to log in. Make sure that your client refreshes once for many "
        "requests, and keeps the newest refresh token.",
    ),
    "fresh_token_required": Explanation(
        "The action is so grave that it asks for the access token of a login; yours came from a refresh.",
        "Ask for the password, log in, and repeat the request with that access token.",
    ),
    "invalid_credentials": Explanation(
        "No active account has this email with this password. Which of the two is wrong is never said.",
        "Let the user try again; several failures are answered by 429 for a while.",
    ),
    "forbidden": Explanation(
        "The service knows who you are, and this is not yours to do: it is somebody else's or an administrator's.",
        "Don't send it again. Offer in your interface what the user's role allows.",
    ),
    "email_not_verified": Explanation(
        "The action asks for an account whose email address has been verified.",
        "Ask the user to follow the link that was mailed.",
    ),
    "not_found": Explanation(
        "No route has this path, nothing has this id, or it is nothing that you may know of, such as another's draft.",
        "Check the path; take what you show of this resource off the screen.",
    ),
    "method_not_allowed": Explanation(
        "The path exists and does not offer this method.",
        "Use one of the methods in the Allow header.",
    ),
    "not_acceptable": Explanation(
        "The Accept header rules out JSON, and the API speaks nothing else.",
        "Send 'Accept: application/json', or no Accept header.",
    ),
    "request_timeout": Explanation(
        "The connection was open, and the request did not arrive whole in time.",
        _NOT_DONE + "Send it again, perhaps over a better network.",
    ),
    "email_taken": Explanation(
        "Another account has this email address, in whatever spelling of upper and lower case.",
        "Offer to log in, or ask for another address.",
    ),
    "last_admin": Explanation(
        "After this change nobody could administer the service any more.",
        "Make another administrator first.",
    ),
    "conflict": Explanation(
        "The data, as they are at this moment, don't allow the change.",
        "Read the resource again, show what has changed, and let the user decide.",
    ),
    "idempotency_in_progress": Explanation(
        "A request with the same Idempotency-Key is still being worked on.",
        _WAIT + " You will get the answer to the first.",
    ),
    "link_expired": Explanation(
        "The token of a mailed link was used before, or is too old.",
        "Ask for a new mail.",
    ),
    "precondition_failed": Explanation(
        "If-Match names a version of the resource that is no longer the present one: somebody changed it since you "
        "read it. Or If-None-Match excludes what is there.",
        _NOT_DONE + "Read the resource again, merge, and send the change with the new ETag.",
    ),
    "payload_too_large": Explanation(
        "The body has more bytes than this service takes.",
        "Send less; sending the same again changes nothing.",
    ),
    "uri_too_long": Explanation(
        "The path and the query together are longer than this service takes.",
        "Shorten the query.",
    ),
    "unsupported_media_type": Explanation(
        "The request has a body that is not declared as JSON in UTF-8, or is compressed.",
        "Send 'Content-Type: application/json' and no Content-Encoding.",
    ),
    "validation_error": Explanation(
        "The request could be read, and some of its fields or query parameters can't be taken: they are missing, "
        "unknown, of the wrong kind or out of bounds.",
        "'errors' names each field as it was sent, nested as it was sent, with texts to show beside it. Mend them and "
        "send the request again.",
    ),
    "idempotency_key_reused": Explanation(
        "An Idempotency-Key names one request; this one came before with another body or on another route.",
        "Make a new key for each thing to be created, and repeat a key only with the very same request.",
    ),
    "rate_limited": Explanation(
        "Too many requests came from your address, or too many failed logins for one account.",
        _WAIT + " The X-RateLimit headers tell what is left before it comes to this.",
    ),
    "headers_too_large": Explanation(
        "A header field, or all together, are larger than this service takes.",
        "Send fewer or shorter headers: look for a cookie or a token that has grown.",
    ),
    "internal_error": Explanation(
        "The service has a bug, and your request met it. A report with the request id was written.",
        "Don't repeat it in a loop. Tell whoever runs the service the request id.",
    ),
    "maintenance": Explanation(
        "Whoever runs the service has closed it for a while; 'detail' may say why.",
        _NOT_DONE + _WAIT,
    ),
    "database_unavailable": Explanation(
        "The service runs and its database does not answer, or not in time.",
        _WAIT + " What is created should carry an Idempotency-Key, so that a repetition creates nothing twice.",
    ),
    "bad_gateway": Explanation(
        "The proxy before the service could not reach it: it is being restarted, as a rule.",
        "Send the request again after a moment; with an Idempotency-Key if it creates something.",
    ),
    "overloaded": Explanation(
        "More requests are waiting than can be answered in time, so that this one was refused at once.",
        _NOT_DONE + _WAIT + " Let the pause grow if it comes again.",
    ),
    "gateway_timeout": Explanation(
        "The proxy before the service had no answer in time; the service may still have carried out the request.",
        "Read the resource before you send a change again; creations are safe to repeat with their Idempotency-Key.",
    ),
}
