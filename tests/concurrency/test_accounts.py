"""Races between changes of accounts: duplicate email addresses, the last administrator, deletion."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import partial

from gatepost.testing.races import Arena, Member, Reply, race
from tests.conftest import PASSWORD

ROUNDS = 20


def test_fifty_registrations_of_one_email_make_one_account(arena: Arena) -> None:
    # The same address in different spellings.
    spellings = itertools.cycle(["dave@example.com", "Dave@Example.com", "DAVE@EXAMPLE.COM"])

    def register(email: str) -> Reply:
        body = {"email": email, "name": "Dave", "password": PASSWORD}
        return arena.call("POST", "/auth/register", body=body)

    replies = race(*(partial(register, next(spellings)) for _ in range(50)))
    assert Counter(reply.outcome for reply in replies) == {(201, ""): 1, (409, "email_taken"): 49}
    assert arena.number("SELECT count(*) FROM users") == 1
    assert arena.number("SELECT count(*) FROM sessions") == 1


def acting_admins(arena: Arena) -> int:
    return arena.number("SELECT count(*) FROM users WHERE role = 'admin' AND is_active")


def test_two_administrators_cannot_take_each_other_away(arena: Arena) -> None:
    def demote(member: Member, token: str) -> Reply:
        return arena.call("PATCH", f"/users/{member.id}", token=token, body={"role": "user"})

    def disable(member: Member, token: str) -> Reply:
        return arena.call("PATCH", f"/users/{member.id}", token=token, body={"is_active": False})

    def delete(member: Member, token: str) -> Reply:
        return arena.call("DELETE", f"/users/{member.id}", token=token)

    keeper = arena.join("admin")
    keeper_token = keeper.log_in().access
    seen: Counter[tuple[tuple[int, str], ...]] = Counter()
    ways = list(itertools.product((demote, disable, delete), repeat=2))
    for one_way, other_way in ways * 2:
        one, other = arena.join("admin"), arena.join("admin")
        one_token, other_token = one.log_in().access, other.log_in().access
        # Only these two may be administrators.
        assert arena.call("PATCH", f"/users/{keeper.id}", token=one_token, body={"role": "user"}).status == 200
        replies = race(partial(one_way, other, one_token), partial(other_way, one, other_token))
        assert acting_admins(arena) == 1
        assert sum(reply.status < 300 for reply in replies) == 1
        seen[tuple(sorted(reply.outcome for reply in replies))] += 1
        survivor = one_token if replies[0].status < 300 else other_token
        assert arena.call("PATCH", f"/users/{keeper.id}", token=survivor, body={"role": "admin"}).status == 200
        for rest in (one, other):
            arena.call("DELETE", f"/users/{rest.id}", token=keeper_token)
    # The second request is refused, or its caller has already been deleted when it is authenticated.
    losing = {outcome for pair in seen for outcome in pair if outcome[0] >= 300}
    assert losing <= {(409, "last_admin"), (401, "token_revoked"), (403, "forbidden"), (404, "not_found")}


def test_administrators_who_all_resign_at_once_leave_one(arena: Arena) -> None:
    for _ in range(5):
        admins = [arena.join("admin") for _ in range(4)]
        tokens = [admin.log_in().access for admin in admins]
        replies = race(
            *(
                partial(arena.call, "PATCH", f"/users/{admin.id}", token=token, body={"role": "user"})
                for admin, token in zip(admins, tokens, strict=True)
            )
        )
        assert Counter(reply.outcome for reply in replies) == {(200, ""): 3, (409, "last_admin"): 1}
        assert acting_admins(arena) == 1
        with arena.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE users SET role = 'user'")


def test_an_account_is_deleted_once(arena: Arena) -> None:
    admin_token = arena.join("admin").log_in().access
    for _ in range(ROUNDS // 2):
        member = arena.join()
        own_token = member.log_in().access
        path = f"/users/{member.id}"
        replies = race(
            *(partial(arena.call, "DELETE", path, token=admin_token) for _ in range(4)),
            *(partial(arena.call, "DELETE", path, token=own_token) for _ in range(4)),
        )
        assert [reply.status for reply in replies].count(204) == 1
        assert {reply.outcome for reply in replies} <= {(204, ""), (404, "not_found"), (401, "token_revoked")}
        assert arena.call("GET", path).outcome == (404, "not_found")
        assert arena.number("SELECT count(*) FROM sessions WHERE user_id = :id", id=member.id) == 0


def test_a_post_by_an_author_who_is_being_deleted_goes_too_or_is_refused(arena: Arena) -> None:
    admin_token = arena.join("admin").log_in().access
    seen: Counter[tuple[int, str]] = Counter()
    for number in range(ROUNDS):
        member = arena.join()
        token = member.log_in().access
        headers = {"Idempotency-Key": f"key-{number}"} if number % 2 else {}
        write = partial(
            arena.call, "POST", "/posts", token=token, body={"title": "Last", "content": "words"}, headers=headers
        )
        delete = partial(arena.call, "DELETE", f"/users/{member.id}", token=admin_token)
        *written, deleted = race(write, write, write, delete)
        assert deleted.status == 204
        seen.update(reply.outcome for reply in written)
        assert arena.number("SELECT count(*) FROM posts WHERE author_id = :id", id=member.id) == 0
        assert arena.number("SELECT count(*) FROM idempotency_keys WHERE user_id = :id", id=member.id) == 0
    assert set(seen) <= {(201, ""), (401, "token_revoked"), (409, "idempotency_in_progress")}


def test_promotions_and_demotions_never_wait_for_each_other(arena: Arena) -> None:
    members = arena.join(), arena.join()
    token = arena.join("admin").log_in().access
    for _ in range(8):
        replies = race(
            *(
                partial(arena.call, "PATCH", f"/users/{members[n % 2].id}", token=token, body={"role": role})
                for n, role in enumerate(["admin", "admin", "user", "user"] * 4)
            )
        )
        assert {reply.outcome for reply in replies} == {(200, "")}
