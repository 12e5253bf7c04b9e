"""Registration, login and change of password. Passwords are hashed before the transaction begins,
because a hash takes long and an open transaction holds a connection and locks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from app.api.access import Caller
from app.api.client_info import address_key
from app.api.errors import EmailTaken, InvalidCredentials, Overloaded, Problem, ValidationFailed
from app.audit.service import record
from app.auth import sessions
from app.auth.sessions import Client, Grant
from app.components import components, utc_now
from app.database import fetch_one, write
from app.database.executor import precompiled
from app.maintenance.service import require_service
from app.observability import metrics
from app.security.passwords import find_weakness, hash_password, needs_rehash, verify_password
from app.security.rate_limits import LimitName
from app.users.models import VISIBLE_COLUMNS, User
from app.users.schemas import email_key
from app.users.service import create_user, is_email_taken


@dataclass(frozen=True, slots=True)
class SignIn:
    """The user who signed in, and the grant of the new session."""

    # An entity or a row, with the attributes of the response.
    user: Any
    grant: Grant


def register(email: str, name: str, password: str, client: Client) -> SignIn:
    """Create an account and its first session. Raises EmailTaken, RateLimited, Overloaded.

    A taken email counts as a failed login of the client's address, which limits how many emails a client can probe.
    """
    limits, address = components().rate_limits, address_key(client.ip)
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
    """Open a session for the user with this email and password. Raises RateLimited, Overloaded, Maintenance.

    Returns InvalidCredentials: raising it would roll back the audit event. An unknown email, a wrong password and a
    disabled account take the same steps and get the same response.
    """
    credentials = fetch_one(_CREDENTIALS, email_key=email_key(email))
    failure = _verify_credentials(credentials, email, password, client)
    if credentials is None or failure is not None:
        return _fail_login(credentials, email, failure)
    rehashed = _rehash(password, credentials.password_hash)
    user = _lock_unchanged(credentials)
    if user is None:
        return _fail_login(credentials, email, "account_changed")
    if user.role != "admin":
        require_service()
    if rehashed is not None:
        _set_password(user.id, rehashed)
    metrics.LOGINS.labels("succeeded").inc()
    return _sign_in("logged_in", user, client)


def _rehash(password: str, encoded: str) -> str | None:
    """Return a hash with the current parameters and of the current form of the password, or None if `encoded` is one.

    Also None when no hash slot is free: the login succeeds, and the next one renews the hash.
    """
    with suppress(Overloaded):
        return hash_password(password) if needs_rehash(encoded, password) else None
    return None


def _sign_in(event: str, user: Any, client: Client) -> SignIn:
    grant = sessions.open_session(user.id, client)
    record(event, user.id, session_id=grant.session_id, actor_id=user.id)
    return SignIn(user, grant)


def _fail_login(credentials: Row[Any] | None, email: str, failure: str | None) -> Problem:
    user_id = None if credentials is None else credentials.id
    record("login_failed", user_id, detail=failure, tried_email_key=email_key(email))
    return InvalidCredentials()


def change_password(caller: Caller, current: str, new: str, client: Client) -> Problem | None:
    """Set a new password and end the caller's other sessions.

    Raises ValidationFailed for a weak password, RateLimited, Overloaded. Returns ValidationFailed for a wrong current
    password, after recording an audit event. It is not a 401, because clients answer that by refreshing their token.
    """
    weakness = find_weakness(new, name=caller.name, email=caller.email)
    if weakness:
        raise ValidationFailed({"new_password": [weakness]})
    failure = _verify_caller(caller, current, client, new_password=new)
    if failure is None:
        return None
    record("password_change_failed", caller.id, detail=failure)
    return ValidationFailed({"current_password": ["Is not your password."]})


def reauthenticate(caller: Caller, password: str, client: Client) -> Problem | None:
    """Verify the caller's password, so that a fresh access token may be issued. Raises RateLimited, Overloaded.

    Returns ValidationFailed for a wrong password, as `change_password` does.
    """
    failure = _verify_caller(caller, password, client)
    if failure is None:
        record("reauthenticated", caller.id)
        return None
    record("reauthentication_failed", caller.id, detail=failure)
    return ValidationFailed({"password": ["Is not your password."]})


def _verify_caller(caller: Caller, password: str, client: Client, *, new_password: str | None = None) -> str | None:
    """Verify the caller's password, and replace it if there is a new one.

    Returns the reason of a failure, for the audit event, or None. Raises RateLimited, Overloaded.
    """
    credentials = fetch_one(_CREDENTIALS_OF_ID, user_id=caller.id)
    failure = _verify_credentials(credentials, caller.email, password, client)
    if credentials is None or failure is not None:
        return failure
    new_hash = None if new_password is None else hash_password(new_password)
    if _lock_unchanged(credentials) is None:
        return "account_changed"
    if new_hash is not None:
        replace_password(caller.id, new_hash, except_session_id=caller.session_id)
    return None


def replace_password(user_id: int, password_hash: str, *, except_session_id: int | None = None) -> None:
    """Replace the password of a locked user and end its sessions, except the given one."""
    _set_password(user_id, password_hash, updated_at=utc_now())
    record("password_changed", user_id)
    sessions.end_sessions(user_id, "password_changed", except_id=except_session_id)


_SELECT_CREDENTIALS = select(User.id, User.password_hash, User.is_active)
_CREDENTIALS = precompiled(_SELECT_CREDENTIALS.where(User.email_key == bindparam("email_key")))
_CREDENTIALS_OF_ID = precompiled(_SELECT_CREDENTIALS.where(User.id == bindparam("user_id")))
# FOR NO KEY UPDATE, which does not block inserts that reference the user, such as a new post.
_LOCK = precompiled(
    select(*VISIBLE_COLUMNS)
    .where(User.id == bindparam("id"), User.is_active, User.password_hash == bindparam("password_hash"))
    .with_for_update(key_share=True)
)


def _set_password(user_id: int, password_hash: str, **changes: Any) -> None:
    write(update(User).where(User.id == user_id).values(password_hash=password_hash, **changes))


def _verify_credentials(credentials: Row[Any] | None, email: str, password: str, client: Client) -> str | None:
    """Return the reason for a failed attempt, for the audit event, or None. Raises RateLimited, Overloaded.

    The limits are checked before and, for a right password, again after the hash. So of many concurrent guesses no
    more than the limit allows can succeed, while right passwords are never counted. An attempt that a limit refuses
    is not recorded, or guesses could fill the disk.
    """
    limits, address = components().rate_limits, address_key(client.ip)
    account = (email_key(email), address)
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
    """Lock and return the user, or None if its password or `is_active` changed since `credentials` were read.

    Without this check, a login that races with a change of the password would open a session with the old one.
    """
    found = write(_LOCK, id=credentials.id, password_hash=credentials.password_hash)
    return found[0] if found else None
