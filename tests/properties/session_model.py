"""What a client may expect of sessions, written down a second time: from the contract alone, and without a database.

A method tells the answer that a request must get at this moment, and does to the model what the request does.
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
WRONG_FIELD: Answer = (422, "validation_error")


@dataclass(frozen=True)
class Token:
    """A token that was given out, and the whole seconds between which it is good as far as itself says."""

    text: str = field(repr=False)
    issued: int
    expires: int

    def judge(self, now: datetime) -> Answer:
        """The answer to this token by its own times."""
        if self.issued > (now + LEEWAY).timestamp():
            return INVALID
        return EXPIRED if self.expires <= (now - LEEWAY).timestamp() else OK


@dataclass(frozen=True)
class Pair:
    """The two tokens of one answer, and the generation of the refresh token."""

    access: Token
    refresh: Token
    generation: int


@dataclass(eq=False)
class Account:
    """Somebody with a password."""

    id: int
    email: str
    password: str
    former_password: str = "a password of long ago"
    is_active: bool = True
    sessions: list[ModelSession] = field(default_factory=list)

    def log_in(self, password: str) -> Answer:
        """Judge a login; `begin` says what a successful one does."""
        return OK if self.is_active and password == self.password else REFUSED

    def begin(self, session_id: int, now: datetime) -> ModelSession:
        """Add a session; of too many live ones the idlest ends."""
        live = [session for session in self.sessions if session.is_live(now)]
        live.sort(key=lambda session: (session.last_used, session.id), reverse=True)
        end(live[MAX_SESSIONS - 1 :])
        session = ModelSession(self, session_id, now, now + ABSOLUTE, now + IDLE)
        self.sessions.append(session)
        return session

    def disable(self) -> None:
        """Close the account: its sessions end, and stay ended when it is opened again."""
        self.is_active = False
        end(self.sessions)


@dataclass(eq=False)
class ModelSession:
    """One login."""

    account: Account
    id: int
    rotated: datetime
    ends: datetime
    idle_ends: datetime
    generation: int = 1
    grace_uses: int = 0
    is_revoked: bool = False
    pairs: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last_used = self.rotated

    def is_live(self, now: datetime) -> bool:
        """Whether its tokens are good for anything."""
        return not self.is_revoked and now < self.ends and now < self.idle_ends

    def give(self, access: str, refresh: str, generation: int, now: datetime) -> None:
        """Remember an answer."""
        issued, access_ends = floor(now.timestamp()), floor((now + ACCESS).timestamp())
        refresh_token = Token(refresh, issued, floor(self.idle_ends.timestamp()))
        self.pairs.append(Pair(Token(access, issued, access_ends), refresh_token, generation))

    def show(self, token: Token, now: datetime) -> Answer:
        """Present a token to any route that asks for one."""
        judged = token.judge(now)
        if judged != OK:
            return judged
        return OK if self.is_live(now) else REVOKED

    def refresh(self, token: Token, generation: int, now: datetime) -> Answer:
        """Exchange a refresh token."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        if generation == self.generation:
            self.generation, self.grace_uses = generation + 1, 0
            self.rotated = self.last_used = now
            self.idle_ends = min(now + IDLE, self.ends)
            return OK
        # A clock that was set back by more than clocks may differ opens no grace.
        is_recent = now - GRACE < self.rotated <= now + LEEWAY
        if generation + 1 == self.generation and is_recent and self.grace_uses < GRACE_USES:
            self.grace_uses += 1
            return OK
        self.is_revoked = True
        return REVOKED

    def log_out(self, token: Token, now: datetime) -> Answer:
        """End it by one of its tokens."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        self.is_revoked = True
        return DONE

    def end_one(self, token: Token, other: ModelSession, now: datetime) -> Answer:
        """End a session by its id."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        if other.account is not self.account or not other.is_live(now):
            return NOT_FOUND
        other.is_revoked = True
        return DONE

    def end_others(self, token: Token, now: datetime, *, include_current: bool = False) -> Answer:
        """End the account's sessions, all but this one or all."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        end(other for other in self.account.sessions if include_current or other is not self)
        return DONE

    def change_password(self, token: Token, current: str, new: str, now: datetime) -> Answer:
        """Set another password."""
        shown = self.show(token, now)
        if shown != OK:
            return shown
        if current != self.account.password:
            return WRONG_FIELD
        self.account.former_password, self.account.password = current, new
        return self.end_others(token, now)


def end(sessions: Iterable[ModelSession]) -> None:
    """End some sessions for good."""
    for session in sessions:
        session.is_revoked = True
