"""The rules of accounts: reading, changing and deleting them, and the permissions for that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row, bindparam, func, or_, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import EmailTaken, Forbidden, LastAdmin, NotFound
from app.api.pagination import Filter, Filters, Page, paginate
from app.audit.service import record
from app.components import utc_now
from app.database import db, fetch_all, fetch_one, precompiled, violates
from app.users import deletion
from app.users.events import user_disabled
from app.users.models import VISIBLE_COLUMNS, User
from app.users.schemas import email_key, fold

ADMIN_FIELDS = frozenset({"role", "is_active"})
# FOR NO KEY UPDATE: unlike FOR UPDATE it does not block the insertion of this user's posts, whose foreign key takes a
# FOR KEY SHARE lock.
LOCK = {"key_share": True}
# The key of the PostgreSQL advisory lock for changing the set of administrators. SQLite has one writer at a time.
ADMINS_LOCK = int.from_bytes(b"admins")
# With the sort key of names.
_USERS = select(*VISIBLE_COLUMNS, User.name_key).where(User.deleted_at.is_(None))
_USER = precompiled(_USERS.where(User.id == bindparam("user_id")))
_NAME_MATCHES = User.name_key.like(bindparam("q"), escape="/")
_EMAIL_MATCHES = User.email_key.like(bindparam("email_q"), escape="/")
# No index contains a search for a part of a text.
FILTERS: Filters = {"q": Filter(_NAME_MATCHES, sort="")}
ADMIN_FILTERS: Filters = {"q": Filter(or_(_NAME_MATCHES, _EMAIL_MATCHES), sort="")}
_paginate_users = partial(
    paginate, _USERS, keys={"created_at": User.created_at, "name": User.name_key}, id_column=User.id
)


def may_act_for(caller: Caller | None, user_id: int) -> bool:
    """Return whether the caller may read and change what belongs to a user: the user and administrators may."""
    return caller is not None and (caller.id == user_id or caller.is_admin)


def create_user(email: str, name: str, password_hash: str, role: str = "user") -> User:
    """Insert an account. Raises EmailTaken if another account has the same address in any spelling."""
    now = utc_now()
    user = User(
        email=email,
        email_key=email_key(email),
        email_verified=False,
        name=name,
        name_key=fold(name),
        bio="",
        role=role,
        is_active=True,
        password_hash=password_hash,
        created_at=now,
        updated_at=now,
    )
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError as error:
        if violates(error, "uq_users_email_key"):
            raise EmailTaken from error
        raise
    return user


def create_user_for(email: str, name: str, password_hash: str, role: str) -> User:
    """Insert an account on behalf of an administrator or operator, and record the event. Raises EmailTaken."""
    user = create_user(email, name, password_hash, role)
    record("user_created", user.id, detail=user.role)
    return user


def is_email_taken(email: str) -> bool:
    """Return whether an account has the address. Checked before a password is hashed, which takes long."""
    return fetch_one(select(User.id).where(User.email_key == email_key(email))) is not None


def get_user(user_id: int) -> Any:
    """Return the visible columns of a user. Raises NotFound."""
    row = fetch_one(_USER, user_id=user_id)
    if row is None:
        raise NotFound
    return row


def list_users(caller: Caller, query: Mapping[str, Any]) -> Page:
    """Return a page of users. `q` searches names, and for an administrator email addresses too."""
    if "q" not in query:
        return _paginate_users(query)
    q = _like_pattern(fold(query["q"]))
    if not caller.is_admin:
        return _paginate_users(query, filters=FILTERS, q=q)
    return _paginate_users(query, filters=ADMIN_FILTERS, q=q, email_q=_like_pattern(email_key(query["q"])))


def _like_pattern(text: str) -> str:
    """Return the pattern for LIKE that finds `text` anywhere, with its wildcards escaped by "/"."""
    escaped = re.sub("[/%_]", r"/\g<0>", text)
    return f"%{escaped}%"


def list_users_after(user_id: int, limit: int) -> Sequence[Row[Any]]:
    """Return up to `limit` users with an id greater than `user_id`, by id."""
    return fetch_all(_USERS.where(User.id > user_id).order_by(User.id).limit(limit))


def get_user_for_change(caller: Caller, user_id: int, changes: Mapping[str, Any]) -> User:
    """Lock and return a user to whom `caller` may make these changes.

    Raises Forbidden for another's profile and for members that only an administrator may set, and NotFound.
    """
    if not may_act_for(caller, user_id):
        raise Forbidden
    sets_admin_fields = bool(ADMIN_FIELDS & changes.keys())
    if sets_admin_fields and not caller.is_admin:
        raise Forbidden
    if sets_admin_fields or caller.id != user_id:
        require_admin_still(caller)
    return _lock_user(user_id)


def update_user(user: User, changes: Mapping[str, Any]) -> User:
    """Set the given members of a locked user. Raises LastAdmin if no active administrator would remain."""
    new_role, new_active = changes.get("role", user.role), changes.get("is_active", user.is_active)
    if _is_active_admin(user) and not (new_role == "admin" and new_active):
        _require_another_admin(user.id)
    if user.is_active and not new_active:
        user_disabled.send(user_id=user.id)
    changed = {name: value for name, value in changes.items() if getattr(user, name) != value}
    for name, value in changed.items():
        setattr(user, name, value)
    if changed:
        user.name_key = fold(user.name)
        user.updated_at = utc_now()
    db.session.flush()
    if "role" in changed:
        record("role_changed", user.id, detail=user.role)
    if "is_active" in changed:
        record("user_enabled" if user.is_active else "user_disabled", user.id)
    return user


def get_user_for_deletion(caller: Caller, user_id: int) -> User:
    """Lock and return a user whom `caller` may delete, also one whose deletion has begun.

    Raises Forbidden for another's account, and NotFound.
    """
    if not may_act_for(caller, user_id):
        raise Forbidden
    if caller.id == user_id:
        _lock_admins()
    else:
        require_admin_still(caller)
    return _lock_user(user_id, or_deleted=True)


def delete_user(user: User) -> bool:
    """Delete a locked user, or a batch of its rows if it has more, and hide it; return whether it is gone.

    Raises LastAdmin.
    """
    begins = user.deleted_at is None
    if begins:
        if _is_active_admin(user):
            _require_another_admin(user.id)
        record("user_deleted", user.id)
    is_gone = deletion.delete_some(user.id, deletion.BATCH) == 0
    if begins and not is_gone:
        deletion.hide(user)
    return is_gone


def find_by_email(email: str) -> User | None:
    """Lock the set of administrators and the user with this address; return the user, or None."""
    _lock_admins()
    return db.session.scalar(select(User).where(User.email_key == email_key(email)).with_for_update(key_share=True))


def _lock_user(user_id: int, *, or_deleted: bool = False) -> User:
    # populate_existing: the session may have read the row before it was locked.
    user = db.session.get(User, user_id, with_for_update=LOCK, populate_existing=True)
    if user is None or (user.deleted_at is not None and not or_deleted):
        raise NotFound
    return user


def require_admin_still(caller: Caller) -> None:
    """Lock the set of administrators. Raises Forbidden if the caller is no longer an active administrator.

    The access policy checked this before the transaction. Since then, while the request hashed a password or waited for
    a lock, the caller may have been demoted or disabled.
    """
    if caller.id not in _lock_admins():
        raise Forbidden


def _lock_admins() -> set[int]:
    """Serialize transactions that change the set of administrators; return the ids of the active administrators.

    Must come before the lock of a single user: of two transactions that each remove an administrator, the second waits
    here and then sees the result of the first. Locking the administrators' rows does not work: transactions that began
    before and after a promotion lock different rows, and can deadlock.
    """
    if db.engine.dialect.name == "postgresql":
        db.session.execute(select(func.pg_advisory_xact_lock(ADMINS_LOCK)))
    return set(db.session.scalars(select(User.id).where(User.role == "admin", User.is_active)))


def _is_active_admin(user: User) -> bool:
    return user.role == "admin" and user.is_active


def _require_another_admin(user_id: int) -> None:
    others = select(func.count()).where(User.role == "admin", User.is_active, User.id != user_id)
    if not db.session.scalar(others):
        raise LastAdmin
