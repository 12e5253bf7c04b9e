"""The audit log under races: exactly one event for each change that was made."""

from __future__ import annotations

from collections import Counter
from functools import partial

from gatepost.testing.races import Arena, Reply, race, refresh, tokens_of
from tests.conftest import GRACE_SECONDS

ROUNDS = 6


def test_a_login_that_races_a_deletion_is_recorded_as_it_ended(arena: Arena) -> None:
    admin_token = arena.join("admin").log_in().access
    for _ in range(ROUNDS):
        member = arena.join()
        before = arena.number("SELECT coalesce(max(id), 0) FROM auth_events")
        delete = partial(arena.call, "DELETE", f"/users/{member.id}", token=admin_token)
        *logins, deleted = race(member.try_to_log_in, member.try_to_log_in, member.try_to_log_in, delete)
        assert deleted.status == 204
        statuses = Counter(reply.status for reply in logins)
        assert statuses.keys() <= {200, 401}
        rows = arena.rows("SELECT event, user_id, detail FROM auth_events WHERE id > :id ORDER BY id", id=before)
        counts = Counter(row.event for row in rows)
        assert counts == Counter({"logged_in": statuses[200], "login_failed": statuses[401], "user_deleted": 1})
        assert {row.user_id for row in rows if row.event != "login_failed"} == {member.id}
        # No login succeeds after the account was deleted.
        names = [row.event for row in rows]
        assert "logged_in" not in names[names.index("user_deleted") :]
        for row in rows:
            if row.event == "login_failed":
                assert (row.user_id, row.detail) in {(member.id, "account_changed"), (None, "unknown_email")}


def test_a_session_ends_on_record_once(arena: Arena) -> None:
    for _ in range(ROUNDS):
        member = arena.join()
        tokens = member.log_in()
        log_out = partial(arena.call, "POST", "/auth/logout", token=tokens.access)
        end = partial(arena.call, "DELETE", "/auth/sessions?include_current=true", token=tokens.access)
        replies = race(log_out, log_out, end, end)
        assert {reply.outcome for reply in replies} <= {(204, ""), (401, "token_revoked")}
        ended = "event IN ('logged_out', 'session_revoked')"
        assert arena.number(f"SELECT count(*) FROM auth_events WHERE {ended} AND user_id = :id", id=member.id) == 1


def test_a_token_that_is_replayed_many_times_is_recorded_once(arena: Arena) -> None:
    member = arena.join()
    first = member.log_in()
    second = tokens_of(refresh(arena, first))
    assert arena.call("GET", "/auth/me", token=second.access).status == 200
    arena.age_rotations(GRACE_SECONDS)
    replies: list[Reply] = race(*(partial(refresh, arena, first) for _ in range(8)))
    assert {reply.outcome for reply in replies} == {(401, "token_revoked")}
    names = [row.event for row in arena.rows("SELECT event FROM auth_events ORDER BY id")]
    assert names == ["logged_in", "refresh_replayed"]
