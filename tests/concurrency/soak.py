"""Two long-running checks: twenty simultaneous refreshes of one token, and changes of rights as all workers see them.

Every fifth round of refreshes loses its responses. Every chain of rounds ends with a thief, who races the owner.

`make soak` (benchmarks/soak.py) runs many rounds of both, tests/concurrency/test_soak.py a few.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from gatepost.testing.races import (
    Arena,
    Member,
    Reply,
    Tokens,
    change_password,
    generation,
    on_every_worker,
    race,
    refresh,
    tokens_of,
)
from tests.conftest import PASSWORD

PARALLEL = 20
# The rounds of one session. Each chain of refreshes ends with replays, which must revoke every token of the session.
CHAIN_ROUNDS = 50
LOST_EVERY = 5
# The maximum of REFRESH_GRACE_SECONDS: so much later every replaced token's grace period is over.
PAST_GRACE_SECONDS = 300
REVOKED = (401, "token_revoked")
_ROW = "SELECT generation, grace_uses, revoked_at FROM sessions WHERE id = (SELECT max(id) FROM sessions)"


def label(reply: Reply) -> str:
    """Return the name of an outcome in the figures."""
    status, code = reply.outcome
    return f"{status} {code}".strip()


@dataclass
class RefreshFigures:
    """The results of the refreshes."""

    rounds: int = 0
    chains: int = 0
    # Rounds that took longer than the grace period, so that the last refreshes were correctly treated as replays.
    late: int = 0
    rotated: int = 0
    in_grace: int = 0
    # Refreshes with a token whose response was lost, after its grace period.
    after_loss: int = 0
    forks: int = 0
    false_logouts: int = 0
    # Tokens of a chain that were accepted after the replay that revoked its session.
    outlived: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def soak_refreshes(arena: Arena, rounds: int, *, grace_seconds: float) -> RefreshFigures:
    """Refresh one token twenty times at once, `rounds` times over."""
    figures = RefreshFigures()
    member = arena.join()
    while figures.rounds < rounds:
        figures.chains += 1
        chain_rounds = min(CHAIN_ROUNDS, rounds - figures.rounds)
        _run_chain(arena, member.log_in(), chain_rounds, grace_seconds, figures)
    return figures


def _run_chain(arena: Arena, first: Tokens, rounds: int, grace_seconds: float, figures: RefreshFigures) -> None:
    held, given = first, [first]
    for number in range(rounds):
        # All are of the same generation, so any of them continues the session.
        held = random.choice(given)
        given = _run_round(arena, held, grace_seconds, figures)
        if given and number % LOST_EVERY == LOST_EVERY - 1:
            given = _lose_responses(arena, held, figures)
        if not given:
            return
    # The owner uses the newest pair, and the thief has the token before it.
    figures.false_logouts += _look(arena, given[0]).status != 200
    arena.age_rotations(PAST_GRACE_SECONDS)
    replies = race(*[partial(refresh, arena, held)] * PARALLEL, *[partial(_look, arena, given[0])] * PARALLEL)
    figures.outlived += sum(reply.outcome != REVOKED for reply in replies[:PARALLEL])
    after = [reply for tokens in given for reply in (_look(arena, tokens), refresh(arena, tokens))]
    figures.outlived += sum(reply.outcome != REVOKED for reply in after)


def _lose_responses(arena: Arena, held: Tokens, figures: RefreshFigures) -> list[Tokens]:
    """Refresh the same token again after its grace period; return the tokens, or none if the session was revoked."""
    (before,) = arena.rows(_ROW)
    arena.age_rotations(PAST_GRACE_SECONDS)
    replies = race(*[partial(refresh, arena, held)] * PARALLEL)
    (row,) = arena.rows(_ROW)
    given = [tokens_of(reply) for reply in replies if reply.status == 200]
    figures.after_loss += len(given)
    figures.answers.update(map(label, replies))
    figures.forks += {generation(tokens.refresh) for tokens in given} | {row.generation} != {before.generation}
    figures.false_logouts += len(replies) - len(given)
    return given if row.revoked_at is None else []


def _run_round(arena: Arena, held: Tokens, grace_seconds: float, figures: RefreshFigures) -> list[Tokens]:
    """Return the tokens that the round returned, or none if the session was revoked."""
    started = time.monotonic()
    replies = race(*[partial(refresh, arena, held)] * PARALLEL)
    is_late = time.monotonic() - started > grace_seconds
    given = [tokens_of(reply) for reply in replies if reply.status == 200]
    (row,) = arena.rows(_ROW)
    following = generation(held.refresh) + 1
    has_forked = {generation(tokens.refresh) for tokens in given} | {row.generation} != {following}
    figures.rounds += 1
    figures.late += is_late
    figures.rotated += row.generation == following
    figures.in_grace += row.grace_uses
    figures.forks += has_forked
    if not is_late:
        figures.false_logouts += sum(reply.status == 401 for reply in replies) or row.revoked_at is not None
    figures.answers.update(map(label, replies))
    return given if row.revoked_at is None and not has_forked else []


def _look(arena: Arena, tokens: Tokens, path: str = "/auth/me") -> Reply:
    return arena.call("GET", path, token=tokens.access)


@dataclass(frozen=True)
class Scene:
    """A user whose rights change, and an administrator."""

    member: Member
    tokens: Tokens
    admin_token: str

    def call(self, method: str, path: str, token: str, body: object = None) -> Reply:
        """Send one request."""
        return self.member.arena.call(method, path, token=token, body=body)

    def administer(self, **changes: object) -> Reply:
        """Change the account as the administrator."""
        return self.call("PATCH", f"/users/{self.member.id}", self.admin_token, changes)


def _log_out(scene: Scene) -> Reply:
    return scene.call("POST", "/auth/logout", scene.tokens.refresh)


def _end_it_from_elsewhere(scene: Scene) -> Reply:
    session_id = scene.member.arena.number("SELECT max(id) FROM sessions WHERE user_id = :id", id=scene.member.id)
    return scene.call("DELETE", f"/auth/sessions/{session_id}", scene.member.log_in().access)


def _end_the_others(scene: Scene) -> Reply:
    return scene.call("DELETE", "/auth/sessions", scene.member.log_in().access)


def _change_password(scene: Scene) -> Reply:
    return change_password(scene.member.arena, scene.member.log_in().access, PASSWORD, "another tall lamp")


def _replay(scene: Scene) -> Reply:
    arena = scene.member.arena
    refresh(arena, tokens_of(refresh(arena, scene.tokens)))
    arena.age_rotations(PAST_GRACE_SECONDS)
    return refresh(arena, scene.tokens)


def _delete(scene: Scene) -> Reply:
    return scene.call("DELETE", f"/users/{scene.member.id}", scene.admin_token)


@dataclass(frozen=True)
class Change:
    """A request that changes what an access token permits, and the outcome of a request before and after it."""

    make: Callable[[Scene], Reply]
    acknowledged: int
    role: str = "user"
    path: str = "/auth/me"
    before: tuple[int, str] = (200, "")
    after: tuple[int, str] = REVOKED


_ADMIN_ONLY = "/service-context"
_REFUSED = (403, "forbidden")
CHANGES = {
    "logout": Change(_log_out, 204),
    "session ended from elsewhere": Change(_end_it_from_elsewhere, 204),
    "other sessions ended": Change(_end_the_others, 204),
    "password changed elsewhere": Change(_change_password, 204),
    "refresh token replayed": Change(_replay, 401),
    "account disabled": Change(partial(Scene.administer, is_active=False), 200),
    "account deleted": Change(_delete, 204),
    "demoted": Change(partial(Scene.administer, role="user"), 200, "admin", _ADMIN_ONLY, after=_REFUSED),
    "promoted": Change(partial(Scene.administer, role="admin"), 200, "user", _ADMIN_ONLY, _REFUSED, (200, "")),
}


@dataclass
class ChangeFigures:
    """The responses to requests that were sent after a change had been acknowledged."""

    changes: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)


def soak_changes(arena: Arena, names: Iterable[str], *, each: int) -> ChangeFigures:
    """Make the named changes in turn, and after each one send `each` requests to every worker."""
    figures = ChangeFigures()
    admin_token = arena.join("admin").log_in().access
    for name in names:
        change = CHANGES[name]
        member = arena.join(change.role)
        scene = Scene(member, member.log_in(), admin_token)
        look = partial(_look, arena, scene.tokens, change.path)
        # Every worker has verified the token while it was valid, and may have cached it.
        assert {reply.outcome for reply in on_every_worker(arena.server, look)} == {change.before}
        assert change.make(scene).status == change.acknowledged
        batches = on_every_worker(arena.server, partial(race, *[look] * each))
        replies = [reply for batch in batches for reply in batch]
        figures.changes[name] += 1
        figures.requests += len(replies)
        figures.stale[name] += sum(reply.outcome != change.after for reply in replies)
        figures.answers.update(map(label, replies))
    return figures
