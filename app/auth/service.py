"""The rules of signing in. Hashes outside of transactions; never commits."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from app.api.access import Caller
from app.api.errors import EmailTaken, InvalidCredentials, Overloaded, Problem, ValidationFailed
from app.audit.service import record
from app.auth import sessions
from app.auth.sessions import Client, Grant
from app.clock import utc_now
from app.components import components
from app.database import fetch_one, write
from app.database.executor import precompiled
from app.maintenance.service import require_service
from app.observability import metrics
from app.security.passwords import find_weakness, hash_password, needs_rehash, verify_password
from app.security.rate_limits import LimitName, RateLimits
from app.security.rate_limits.addresses import address_key
from app.users.models import VISIBLE_COLUMNS, User
from app.users.schemas import fold
from app.users.service import create_user, is_email_taken


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who signed in, and the session that began."""

    # With the attributes of an answer: an entity or a row.
    user: Any
    grant: Grant


def register(email: str, name: str, password: str, client: Client) -> SignIn:
    """Make an account and its first session. Raises EmailTaken, RateLimited.

    A taken address counts as a failed attempt of the client, so that addresses can't be tried out in bulk.
    """
    limits, address = _limits(), address_key(client.ip)
    limits.check_all({LimitName.REGISTER: (address,), LimitName.LOGIN_ADDRESS: (address,)})
    if is_email_taken(email):
        limits.hit(LimitName.LOGIN_ADDRESS, address)
        raise EmailTaken
    password_hash = hash_password(password)
    # Counted before the transaction begins, so that of concurrent registrations no more than the limit create a user.
    limits.hit(LimitName.REGISTER, address)
    user = create_user(email, name, password_hash)
    return _sign_in("registered", user, client)


def log_in(email: str, password: str, client: Client) -> SignIn | Problem:
    """Begin a session for who knows the password. Raises RateLimited.

    Returns InvalidCredentials as an outcome: that an attempt failed is on record, which must be committed. An unknown
    address, a wrong password and a disabled account take the same steps to the same refusal.
    """
    credentials = fetch_one(_CREDENTIALS, email_key=fold(email))
    failure = _judge(credentials, email, password, client)
    if credentials is None or failure is not None:
        return _refused(credentials, email, failure)
    rehashed = _rehash(password, credentials.password_hash)
    user = _lock_unchanged(credentials)
    if user is None:
        return _refused(credentials, email, "account_changed")
    if user.role != "admin":
        require_service()
    if rehashed is not None:
        _set_password(user.id, rehashed)
    metrics.LOGINS.labels("succeeded").inc()
    return _sign_in("logged_in", user, client)


def _rehash(password: str, encoded: str) -> str | None:
    """Return a hash with the current parameters, or None if `encoded` has them.

    Also None when no hash slot is free: the login succeeds, and the next one renews the hash.
    """
    if not needs_rehash(encoded):
        return None
    with suppress(Overloaded):
        return hash_password(password)
    return None


def _sign_in(event: str, user: Any, client: Client) -> SignIn:
    grant = sessions.open_session(user.id, client)
    record(event, user.id, session_id=grant.session_id, actor_id=user.id)
    return SignIn(user, grant)


def _refused(credentials: Row[Any] | None, email: str, failure: str | None) -> Problem:
    user_id = None if credentials is None else credentials.id
    record("login_failed", user_id, detail=failure, tried_email_key=fold(email))
    return InvalidCredentials()


def change_password(caller: Caller, current: str, new: str, client: Client) -> Problem | None:
    """Set a new password and end the caller's other sessions.

    Raises ValidationFailed for a weak password, RateLimited. Returns ValidationFailed for a wrong current one as an
    outcome, to be committed with its record; a 401 would set clients refreshing.
    """
    weakness = find_weakness(new, name=caller.name, email=caller.email)
    if weakness:
        raise ValidationFailed({"new_password": [weakness]})
    credentials = fetch_one(_CREDENTIALS, email_key=fold(caller.email))
    failure = _judge(credentials, caller.email, current, client)
    if credentials is None or failure is not None:
        return _wrong_password(caller, failure)
    new_hash = hash_password(new)
    user = _lock_unchanged(credentials)
    if user is None:
        return _wrong_password(caller, "account_changed")
    _set_password(user.id, new_hash, updated_at=utc_now())
    record("password_changed", caller.id)
    sessions.end_sessions(caller.id, "password_changed", but=caller.session_id)
    return None


def _wrong_password(caller: Caller, failure: str | None) -> Problem:
    record("password_change_failed", caller.id, detail=failure)
    return ValidationFailed({"current_password": ["Is not your password."]})


_CREDENTIALS = precompiled(
    select(User.id, User.password_hash, User.is_active).where(User.email_key == bindparam("email_key"))
)
# Not against those who only refer to the account, as a new post does.
_LOCK = precompiled(
    select(*VISIBLE_COLUMNS)
    .where(User.id == bindparam("id"), User.is_active, User.password_hash == bindparam("password_hash"))
    .with_for_update(key_share=True)
)


def _set_password(user_id: int, password_hash: str, **changes: Any) -> None:
    write(update(User).where(User.id == user_id).values(password_hash=password_hash, **changes))


def _judge(credentials: Row[Any] | None, email: str, password: str, client: Client) -> str | None:
    """Return why a guess at the password of an account does not count, for the record, or None. Raises RateLimited.

    Failures are counted as they come in, and a right guess is refused too once the window is full: of many guesses
    sent at once no more count than the limit allows, and a client that guesses right is never in its own way. What
    is refused by the limit is not on record, or guesses would fill the disk.
    """
    limits, address = _limits(), address_key(client.ip)
    account = (fold(email), address)
    keys = {LimitName.LOGIN_ACCOUNT: account, LimitName.LOGIN_ADDRESS: (address,)}
    limits.check_all(keys)
    is_right = verify_password(password, credentials.password_hash if credentials else None)
    if credentials is None or not (is_right and credentials.is_active):
        metrics.LOGINS.labels("failed").inc()
        limits.hit_all(keys)
        if credentials is None:
            return "unknown_email"
        return "disabled" if is_right else "wrong_password"
    windows = limits.check_all(keys)
    if windows and windows[LimitName.LOGIN_ACCOUNT].used:
        limits.clear(LimitName.LOGIN_ACCOUNT, *account)
    return None


def _lock_unchanged(credentials: Row[Any]) -> Row[Any] | None:
    """Lock the account, unless its password or its standing changed while the guess was judged.

    Without this a login that raced a password change would leave a session of the old password alive.
    """
    found = write(_LOCK, id=credentials.id, password_hash=credentials.password_hash)
    return found[0] if found else None


def _limits() -> RateLimits:
    return components().rate_limits
