"""A model of sessions, written from the HTTP contract, to compare the implementation with.

Each method returns the response that a request must get now, and applies the effect of the request to the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import floor

IDLE, ABSOLUTE, ACCESS = timedelta(days=7), timedelta(days=30), timedelta(minutes=15)
GRACE, GRACE_USES, LEEWAY = timedelta(seconds=10), 20, timedelta(seconds=30)
MAX_SESSIONS = 3

Answer = tuple[int, str]
OK: Answer = (200, "")
DONE: Answer = (204, "")
REVOKED: Answer = (401, "token_revoked")
EXPIRED: Answer = (401, "token_expired")
INVALID: Answer = (401, "token_invalid")
REFUSED: Answer = (401, "invalid_credentials")
NOT_FOUND: Answer = (404, "not_found")
LIMITED: Answer = (429, "rate_limited")
WRONG_FIELD: Answer = (422, "validation_error")


@dataclass(frozen=True)
class Token:
    """An issued token, with its `nbf` and `exp` in seconds since the epoch, and the generation in it."""

    text: str = field(repr=False)
    generation: int
    issued: int
    expires: int

    def validate(self, now: datetime) -> Answer:
        """Return the response that the times in the token require."""
        if self.issued > (now + LEEWAY).timestamp():
            return INVALID
        return EXPIRED if self.expires <= (now - LEEWAY).timestamp() else OK


@dataclass(frozen=True)
class Pair:
    """The two tokens of a response."""

    access: Token
    refresh: Token

    @property
    def generation(self) -> int:
        """Return the generation of both."""
        return self.refresh.generation


@dataclass(eq=False)
class Account:
    """An account with its password and its sessions."""

    id: int
    email: str
    password: str
    former_password: str = "a password of long ago"
    is_active: bool = True
    sessions: list[ModelSession] = field(default_factory=list)

    def log_in(self, password: str) -> Answer:
        """Return the response to a login; `begin` applies a successful one."""
        return OK if self.is_active and password == self.password else REFUSED

    def begin(self, session_id: int, now: datetime) -> ModelSession:
        """Add a session, and end those beyond the maximum that are idle longest."""
        live = [session for session in self.sessions if session.is_live(now)]
        live.sort(key=lambda session: (session.last_used, session.id), reverse=True)
        end(live[MAX_SESSIONS - 1 :], now)
        session = ModelSession(self, session_id, now, now + ABSOLUTE, now + IDLE)
        self.sessions.append(session)
        return session

    def disable(self, now: datetime) -> None:
        """Disable the account and end its sessions, which stay ended when it is enabled again."""
        self.is_active = False
        end(self.sessions, now)


@dataclass(eq=False)
class ModelSession:
    """One session."""

    account: Account
    id: int
    rotated: datetime
    ends: datetime
    idle_ends: datetime
    generation: int = 1
    # The newest generation of which a token was used.
    confirmed: int = 1
    # When generations were replaced: those since the last pause between rotations of more than the grace period.
    replaced: dict[int, datetime] = field(default_factory=dict)
    grace_uses: int = 0
    is_revoked: bool = False
    pairs: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last_used = self.rotated

    def is_live(self, now: datetime) -> bool:
        """Return whether the session is neither revoked nor expired."""
        return not self.is_revoked and now < self.ends and now < self.idle_ends

    def give(self, access: str, refresh: str, generation: int, now: datetime) -> None:
        """Store the tokens of a response."""
        issued, access_ends = floor(now.timestamp()), floor((now + ACCESS).timestamp())
        refresh_token = Token(refresh, generation, issued, floor(self.idle_ends.timestamp()))
        self.pairs.append(Pair(Token(access, generation, issued, access_ends), refresh_token))

    def show(self, token: Token, now: datetime) -> Answer:
        """Return the response of a route that requires this token."""
        validated = token.validate(now)
        if validated != OK:
            return validated
        return OK if self.is_live(now) else REVOKED

    def use(self, token: Token, now: datetime) -> Answer:
        """Return the response of a route that requires this access token, which confirms its generation."""
        shown = self.show(token, now)
        if shown == OK and token.generation <= self.generation:
            self.confirmed = max(self.confirmed, token.generation)
        return shown

    def refresh(self, token: Token, now: datetime) -> Answer:
        """Return the response to a refresh with this token."""
        shown, generation = self.show(token, now), token.generation
        if shown != OK:
            return shown
        if generation == self.generation:
            self._rotate(now)
            return OK
        if generation > self.generation:
            return REVOKED
        replaced = self.replaced.get(generation)
        if replaced and now - GRACE < replaced <= now + LEEWAY and now - GRACE < self.rotated:
            if self.grace_uses == GRACE_USES:
                return LIMITED
            self.grace_uses += 1
            return OK
        if generation + 1 == self.generation and self.confirmed < self.generation:
            return OK
        # A clock that was set back by more than the leeway neither opens a grace period nor makes a replay.
        if replaced is None or replaced <= now + LEEWAY:
            self.is_revoked = True
        return REVOKED

    def _rotate(self, now: datetime) -> None:
        if self.rotated <= now - GRACE:
            self.replaced.clear()
        self.replaced[self.generation] = now
        self.confirmed = self.generation
        self.generation, self.grace_uses = self.generation + 1, 0
        self.rotated = self.last_used = now
        self.idle_ends = min(now + IDLE, self.ends)

    def log_out(self, token: Token, now: datetime) -> Answer:
        """Return the response to a logout with one of the tokens."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        self.is_revoked = True
        return DONE

    def end_one(self, token: Token, other: ModelSession, now: datetime) -> Answer:
        """Return the response to DELETE /auth/sessions/{id}."""
        shown = self.use(token, now)
        if shown != OK:
            return shown
        if other.account is not self.account or not other.is_live(now):
            return NOT_FOUND
        other.is_revoked = True
        return DONE

    def end_others(self, token: Token, now: datetime, *, include_current: bool = False) -> Answer:
        """Return the response to DELETE /auth/sessions."""
        shown = self.use(token, now)
        if shown != OK:
            return shown
        end((other for other in self.account.sessions if include_current or other is not self), now)
        return DONE

    def change_password(self, token: Token, current: str, new: str, now: datetime) -> Answer:
        """Return the response to a change of the password."""
        shown = self.use(token, now)
        if shown != OK:
            return shown
        if current != self.account.password:
            return WRONG_FIELD
        self.account.former_password, self.account.password = current, new
        return self.end_others(token, now)


def end(sessions: Iterable[ModelSession], now: datetime) -> None:
    """Revoke sessions, except those that have expired."""
    for session in sessions:
        session.is_revoked |= session.is_live(now)
