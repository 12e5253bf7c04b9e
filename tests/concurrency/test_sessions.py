"""Races between refreshes and the revocation of sessions."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from gatepost.testing.races import (
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
    assert look(arena, newest).status == 200
    for _ in range(3):
        assert refresh(arena, first).status == 200
    arena.age_rotations(GRACE_SECONDS / 2)
    assert refresh(arena, first).status == 200
    arena.age_rotations(GRACE_SECONDS / 2)
    assert refresh(arena, first).outcome in REVOKED
    assert look(arena, newest).outcome in REVOKED


def test_of_many_refreshes_at_once_those_past_the_limit_end_nothing(arena: Arena) -> None:
    first = arena.join().log_in()
    replies = race(*[partial(refresh, arena, first)] * 40)
    assert Counter(reply.outcome for reply in replies) == {(200, ""): 21, (429, "rate_limited"): 19}
    given = [tokens_of(reply) for reply in replies if reply.status == 200]
    assert {generation(tokens.refresh) for tokens in given} == {2}
    assert {look(arena, tokens).status for tokens in given} == {200}


def test_restored_tabs_with_tokens_of_any_age_stay_signed_in(arena: Arena) -> None:
    """A dozen tabs start at once, each with one of the tokens of the last seconds, and refresh twice."""
    held = [arena.join().log_in()]
    for _ in range(5):
        held.append(tokens_of(refresh(arena, held[-1])))
    first = race(*[partial(refresh, arena, held[tab % len(held)]) for tab in range(12)])
    assert outcomes(first) == {(200, "")}
    second = race(*[partial(refresh, arena, tokens_of(reply)) for reply in first])
    assert outcomes(second) == {(200, "")}
    newest = max(second, key=lambda reply: generation(reply.json["refresh_token"]))
    assert look(arena, tokens_of(newest)).status == 200
    assert generation(newest.json["refresh_token"]) == arena.number("SELECT generation FROM sessions")


def test_retries_of_a_lost_response_at_once_give_one_generation(arena: Arena) -> None:
    first = arena.join().log_in()
    refresh(arena, first)
    arena.age_rotations(GRACE_SECONDS)
    replies = race(*[partial(refresh, arena, first)] * 12)
    assert outcomes(replies) == {(200, "")}
    assert {generation(reply.json["refresh_token"]) for reply in replies} == {2}


def test_a_retry_that_races_the_first_use_of_its_successor_is_exchanged_or_ends_the_session(arena: Arena) -> None:
    member = arena.join()
    pairs = [(first, tokens_of(refresh(arena, first))) for first in (member.log_in() for _ in range(ROUNDS))]
    arena.age_rotations(GRACE_SECONDS)
    for first, second in pairs:
        retried, looked = race(partial(refresh, arena, first), partial(look, arena, second))
        if retried.status == 200:
            assert generation(retried.json["refresh_token"]) == 2
            assert looked.status == 200
            # The generation is confirmed now.
            assert refresh(arena, first).outcome in REVOKED
        else:
            assert retried.outcome in REVOKED
        assert look(arena, second).outcome in REVOKED


def test_first_uses_of_a_generation_at_once_confirm_it(arena: Arena) -> None:
    member = arena.join()
    for _ in range(ROUNDS):
        tokens = tokens_of(refresh(arena, member.log_in()))
        assert outcomes(race(*[partial(look, arena, tokens)] * 4)) == {(200, "")}
    assert arena.number("SELECT count(*) FROM sessions WHERE confirmed_generation = 2") == ROUNDS


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
