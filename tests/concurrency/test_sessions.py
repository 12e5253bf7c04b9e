"""Races between refreshes and the revocation of sessions."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from tests.concurrency.race import (
    Arena,
    Reply,
    Tokens,
    change_password,
    generation,
    on_every_worker,
    outcomes,
    race,
    refresh,
    tokens_of,
)
from tests.conftest import GRACE_SECONDS, PASSWORD

ROUNDS = 20
NEW_PASSWORD = "another tall lamp"
REVOKED = {(401, "token_revoked")}


def look(arena: Arena, tokens: Tokens) -> Reply:
    """Send GET /auth/me with the access token."""
    return arena.call("GET", "/auth/me", token=tokens.access)


def test_twenty_refreshes_of_one_token_give_one_new_generation(arena: Arena) -> None:
    first = arena.join().log_in()
    replies = race(*[partial(refresh, arena, first)] * 20)
    assert outcomes(replies) == {(200, "")}
    assert {generation(reply.json["refresh_token"]) for reply in replies} == {generation(first.refresh) + 1}
    assert arena.number("SELECT generation FROM sessions") == 2
    newest = tokens_of(replies[0])
    assert {reply.status for reply in on_every_worker(arena.server, partial(look, arena, newest))} == {200}

    arena.age_rotations(GRACE_SECONDS)
    # Regardless of the number of simultaneous replays, and on every worker.
    assert outcomes(race(*[partial(refresh, arena, first)] * 4)) == REVOKED
    for tokens in (first, newest, tokens_of(replies[-1])):
        assert outcomes(on_every_worker(arena.server, partial(look, arena, tokens))) == REVOKED
        assert refresh(arena, tokens).outcome in REVOKED
    assert [tuple(row) for row in arena.rows("SELECT generation, revoked_reason FROM sessions")] == [(2, "replay")]


def test_refreshing_in_the_grace_again_and_again_does_not_lengthen_it(arena: Arena) -> None:
    first = arena.join().log_in()
    newest = tokens_of(refresh(arena, first))
    for _ in range(3):
        assert refresh(arena, first).status == 200
    arena.age_rotations(GRACE_SECONDS / 2)
    assert refresh(arena, first).status == 200
    arena.age_rotations(GRACE_SECONDS / 2)
    assert refresh(arena, first).outcome in REVOKED
    assert look(arena, newest).outcome in REVOKED


def test_an_older_generation_is_replay_within_the_grace_too(arena: Arena) -> None:
    first = arena.join().log_in()
    second = tokens_of(refresh(arena, first))
    third = tokens_of(refresh(arena, second))
    replies = race(partial(refresh, arena, first), partial(refresh, arena, third))
    assert replies[0].outcome in REVOKED
    assert replies[1].outcome in {(200, ""), *REVOKED}
    assert look(arena, third).outcome in REVOKED


@pytest.mark.parametrize("ending", ["logout", "delete", "delete all"])
def test_a_refresh_that_races_the_end_of_its_session_does_not_revive_it(arena: Arena, ending: str) -> None:
    member = arena.join()
    seen: Counter[tuple[int, str]] = Counter()
    for _ in range(ROUNDS):
        tokens = member.log_in()
        session_id = arena.number("SELECT max(id) FROM sessions")
        end = {
            "logout": partial(arena.call, "POST", "/auth/logout", token=tokens.refresh),
            "delete": partial(arena.call, "DELETE", f"/auth/sessions/{session_id}", token=tokens.access),
            "delete all": partial(arena.call, "DELETE", "/auth/sessions?include_current=true", token=tokens.access),
        }[ending]
        *refreshed, ended = race(*[partial(refresh, arena, tokens)] * 3, end)
        assert ended.status == 204
        seen.update(reply.outcome for reply in refreshed)
        assert_dead(arena, [tokens, *(tokens_of(reply) for reply in refreshed if reply.status == 200)])
        assert member.live_sessions() == 0
    assert set(seen) <= {(200, ""), *REVOKED}


def assert_dead(arena: Arena, held: list[Tokens]) -> None:
    """Check that every token of a revoked session is refused."""
    for tokens in held:
        assert look(arena, tokens).outcome in REVOKED
        assert refresh(arena, tokens).outcome in REVOKED


def test_a_refresh_that_races_a_change_of_password_ends_revoked(arena: Arena) -> None:
    member = arena.join()
    passwords = [PASSWORD, NEW_PASSWORD]
    for number in range(ROUNDS):
        old, new = passwords[number % 2], passwords[(number + 1) % 2]
        own, other = member.log_in(old), member.log_in(old)
        *refreshed, changed = race(
            *[partial(refresh, arena, other)] * 3,
            partial(change_password, arena, own.access, old, new),
        )
        assert changed.status == 204
        assert outcomes(refreshed) <= {(200, ""), *REVOKED}
        assert_dead(arena, [other, *(tokens_of(reply) for reply in refreshed if reply.status == 200)])
        assert look(arena, own).status == 200
        assert member.live_sessions() == 1
        assert arena.call("POST", "/auth/logout", token=own.access).status == 204


def test_no_session_of_the_old_password_outlives_its_change(arena: Arena) -> None:
    member = arena.join()
    passwords = [PASSWORD, NEW_PASSWORD]
    for number in range(ROUNDS):
        old, new = passwords[number % 2], passwords[(number + 1) % 2]
        own = member.log_in(old)
        *logins, changed = race(
            *[partial(member.try_to_log_in, old)] * 3,
            partial(change_password, arena, own.access, old, new),
        )
        assert changed.status == 204
        assert outcomes(logins) <= {(200, ""), (401, "invalid_credentials")}
        assert_dead(arena, [tokens_of(reply) for reply in logins if reply.status == 200])
        assert member.live_sessions() == 1
        assert arena.call("POST", "/auth/logout", token=own.access).status == 204


def test_of_two_changes_of_password_at_once_one_is_made(arena: Arena) -> None:
    member = arena.join()
    password = PASSWORD
    for number in range(5):
        one, other = member.log_in(password), member.log_in(password)
        wanted = [f"a {word} tall lamp {number}" for word in ("red", "blue")]
        replies = race(
            partial(change_password, arena, one.access, password, wanted[0]),
            partial(change_password, arena, other.access, password, wanted[1]),
        )
        # The request that changes the password also revokes the session of the other one.
        won, lost = sorted(replies, key=lambda reply: reply.status)
        assert won.status == 204
        assert lost.outcome in {(422, "validation_error"), *REVOKED}
        password = wanted[replies.index(won)]
        assert member.live_sessions() == 1


def test_no_session_of_a_disabled_account_is_left(arena: Arena) -> None:
    member, admin_token = arena.join(), arena.join("admin").log_in().access
    path = f"/users/{member.id}"
    for _ in range(ROUNDS):
        *logins, disabled = race(
            *[member.try_to_log_in] * 3,
            partial(arena.call, "PATCH", path, token=admin_token, body={"is_active": False}),
        )
        assert disabled.status == 200
        assert outcomes(logins) <= {(200, ""), (401, "invalid_credentials")}
        assert member.live_sessions() == 0
        enabled = arena.call("PATCH", path, token=admin_token, body={"is_active": True})
        assert enabled.status == 200
        # Also after the account is enabled again.
        assert_dead(arena, [tokens_of(reply) for reply in logins if reply.status == 200])


def test_twenty_logins_at_once_leave_twenty_sessions(arena: Arena) -> None:
    member = arena.join()
    early = [member.log_in() for _ in range(15)]
    assert refresh(arena, early[0]).status == 200
    replies = race(*[member.try_to_log_in] * 20)
    assert outcomes(replies) == {(200, "")}
    assert member.live_sessions() == 20
    ended = arena.rows("SELECT DISTINCT revoked_reason FROM sessions WHERE revoked_at IS NOT NULL")
    assert [tuple(row) for row in ended] == [("too_many_sessions",)]
    # The sessions that had been idle longest were revoked first.
    assert {look(arena, tokens).outcome for tokens in early} == REVOKED
    assert {look(arena, tokens_of(reply)).status for reply in replies} == {200}
