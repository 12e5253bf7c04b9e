"""The rules of accounts. Writes the users table; never commits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import EmailTaken, Forbidden, LastAdmin, NotFound
from app.api.pagination import Page, paginate
from app.audit.service import record
from app.clock import utc_now
from app.database import db, fetch_all, fetch_one, violates
from app.database.executor import precompiled
from app.users.events import user_disabled
from app.users.models import VISIBLE_COLUMNS, User
from app.users.schemas import fold

ADMIN_FIELDS = frozenset({"role", "is_active"})
# FOR NO KEY UPDATE: a post of this user may still be written meanwhile, as its foreign key stays true.
LOCK = {"key_share": True}
# PostgreSQL's advisory lock of whoever changes who administers. SQLite has one writer at a time anyway.
ADMINS_LOCK = int.from_bytes(b"admins")
# Lists are sorted by name.
_USERS = select(*VISIBLE_COLUMNS, User.name_key)
_USERS_FOUND = _USERS.where(User.name_key.like(bindparam("pattern"), escape="/"))
_USERS_FOUND_BY_ADMIN = _USERS.where(
    or_(*(column.like(bindparam("pattern"), escape="/") for column in (User.name_key, User.email_key)))
)
_USER = precompiled(_USERS.where(User.id == bindparam("user_id")))


def create_user(email: str, name: str, password_hash: str, role: str = "user") -> User:
    """Add an account. Raises EmailTaken when another one has the address, however it is spelt."""
    now = utc_now()
    user = User(
        email=email,
        email_key=fold(email),
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
    """Add an account for somebody else, on record. Raises EmailTaken."""
    user = create_user(email, name, password_hash, role)
    record("user_created", user.id, detail=user.role)
    return user


def is_email_taken(email: str) -> bool:
    """Whether an account has the address at this moment; spares the hash of a password that can't be used."""
    return fetch_one(select(User.id).where(User.email_key == fold(email))) is not None


def get_user(user_id: int) -> Any:
    """Return one user's columns. Raises NotFound."""
    row = fetch_one(_USER, user_id=user_id)
    if row is None:
        raise NotFound
    return row


def list_users(caller: Caller, query: Mapping[str, Any]) -> Page:
    """Return a page of users; `q` looks in names, and in addresses for an administrator."""
    keys = {"created_at": User.created_at, "name": User.name_key}
    if "q" not in query:
        return paginate(_USERS, query, keys=keys, id_column=User.id)
    statement = _USERS_FOUND_BY_ADMIN if caller.is_admin else _USERS_FOUND
    return paginate(statement, query, keys=keys, id_column=User.id, pattern=_pattern(query["q"]))


def _pattern(text: str) -> str:
    """Return what LIKE matches where a folded `text` is found, with none of its characters a wildcard."""
    escaped = re.sub("[/%_]", r"/\g<0>", fold(text))
    return f"%{escaped}%"


def list_users_after(user_id: int, limit: int) -> Sequence[Row[Any]]:
    """Return up to `limit` users in the order of their ids, those behind `user_id`, for a command of the operator."""
    return fetch_all(_USERS.where(User.id > user_id).order_by(User.id).limit(limit))


def may_see_all_of(caller: Caller | None, user_id: int) -> bool:
    """Whether the caller sees the private members of this user."""
    return caller is not None and caller.may_act_for(user_id)


def get_user_for_change(caller: Caller, user_id: int, changes: Mapping[str, Any]) -> User:
    """Lock a user that `caller` is about to give `changes`.

    Raises Forbidden for another's profile and for members that only an administrator may set, NotFound.
    """
    if not caller.may_act_for(user_id) or (ADMIN_FIELDS & changes.keys() and not caller.is_admin):
        raise Forbidden
    if ADMIN_FIELDS & changes.keys() or caller.id != user_id:
        require_admin_still(caller)
    return _lock_user(user_id)


def update_user(user: User, changes: Mapping[str, Any]) -> User:
    """Set the members given, of a locked user. Raises LastAdmin when no active administrator would be left."""
    new_role, new_active = changes.get("role", user.role), changes.get("is_active", user.is_active)
    if _is_acting_admin(user) and not (new_role == "admin" and new_active):
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
    """Lock a user that `caller` is about to delete. Raises Forbidden for another's account, NotFound."""
    if not caller.may_act_for(user_id):
        raise Forbidden
    if caller.id == user_id:
        _lock_admins()
    else:
        require_admin_still(caller)
    return _lock_user(user_id)


def delete_user(user: User) -> None:
    """Delete a locked user; the database takes posts and sessions along. Raises LastAdmin."""
    if _is_acting_admin(user):
        _require_another_admin(user.id)
    db.session.execute(delete(User).where(User.id == user.id))
    record("user_deleted", user.id)


def find_by_email(email: str) -> User | None:
    """Lock and return the user with this address, and who administers, for a command of the operator."""
    _lock_admins()
    return db.session.scalar(select(User).where(User.email_key == fold(email)).with_for_update(key_share=True))


def _lock_user(user_id: int) -> User:
    # populate_existing: the row as it is under the lock, not as this session may have read it before.
    user = db.session.get(User, user_id, with_for_update=LOCK, populate_existing=True)
    if user is None:
        raise NotFound
    return user


def require_admin_still(caller: Caller) -> None:
    """Lock who administers, and raise Forbidden unless `caller` does at this moment.

    The guard looked before: what has taken a while since, or waited for a lock, must not be done by somebody who has
    been demoted or disabled meanwhile.
    """
    if caller.id not in _lock_admins():
        raise Forbidden


def _lock_admins() -> set[int]:
    """Let one transaction at a time change who administers; returns the ids of the active administrators.

    Taken before any single user is locked: two transactions that each take another administrator away meet here, and
    the second sees what the first has done. To lock the administrators' rows instead would not do: two transactions
    that began on either side of a promotion see different sets of them, and can wait for each other.
    """
    if db.engine.dialect.name == "postgresql":
        db.session.execute(select(func.pg_advisory_xact_lock(ADMINS_LOCK)))
    return set(db.session.scalars(select(User.id).where(User.role == "admin", User.is_active)))


def _is_acting_admin(user: User) -> bool:
    return user.role == "admin" and user.is_active


def _require_another_admin(user_id: int) -> None:
    others = select(func.count()).where(User.role == "admin", User.is_active, User.id != user_id)
    if not db.session.scalar(others):
        raise LastAdmin
