"""Sessions: what one worker does to a session, every worker obeys at the next request."""

from __future__ import annotations

import pytest

from gatepost.testing.races import Arena, Tokens, change_password, generation, refresh, tokens_of
from tests.conftest import API, GRACE_SECONDS, PASSWORD
from tests.servers.wire import Answer, Connection, bearer, connections_to_workers, json_request, request

REVOKED = (401, "token_revoked")
NEW_PASSWORD = "another tall lamp"
# Each server and each database once: which server runs makes no difference to the database. The races test all four.
PAIRS = [("gunicorn", "postgresql"), ("granian", "sqlite")]
pytestmark = pytest.mark.parametrize(("kind", "backend"), PAIRS, indirect=True, scope="session")


def me(token: str) -> bytes:
    """The request for the caller's own account."""
    return request(f"GET {API}/auth/me HTTP/1.1", bearer(token))


def outcomes_on_workers(arena: Arena, data: bytes) -> list[tuple[int, str]]:
    """Send a request to each worker and return the outcomes."""
    with connections_to_workers(arena.server) as connections:
        return [connection.ask(data).outcome for connection in connections]


def test_register_log_in_use_and_log_out(arena: Arena) -> None:
    body = {"email": f"dave-{id(arena)}@example.com", "name": "Dave", "password": PASSWORD}
    registered = arena.call("POST", "/auth/register", body=body)
    assert registered.status == 201, registered.content
    assert registered.headers["location"] == f"{API}/users/{registered.json['user']['id']}"
    again = arena.call("POST", "/auth/login", body={"email": body["email"], "password": PASSWORD})
    first, second = tokens_of(registered), tokens_of(again)
    assert arena.call("GET", "/auth/me", token=second.access).json["email"] == body["email"]
    assert arena.call("POST", "/auth/logout", token=second.access).status == 204
    assert arena.call("GET", "/auth/me", token=second.access).outcome == REVOKED
    assert arena.call("GET", "/auth/me", token=first.access).status == 200


def test_a_refresh_on_each_worker_gives_the_next_generation(arena: Arena) -> None:
    tokens = arena.join().log_in()
    with connections_to_workers(arena.server) as connections:
        for connection in connections * 2:
            answer = connection.ask(request(f"POST {API}/auth/refresh HTTP/1.1", bearer(tokens.refresh)))
            assert answer.status == 200, answer.body
            following = Tokens(answer.json["access_token"], answer.json["refresh_token"])
            assert generation(following.refresh) == generation(tokens.refresh) + 1
            tokens = following
        assert {connection.ask(me(tokens.access)).status for connection in connections} == {200}


def test_a_replaced_token_in_its_grace_gives_the_current_generation_again(arena: Arena) -> None:
    first = arena.join().log_in()
    second = tokens_of(refresh(arena, first))
    with connections_to_workers(arena.server) as connections:
        for connection in connections:
            answer = connection.ask(request(f"POST {API}/auth/refresh HTTP/1.1", bearer(first.refresh)))
            assert answer.status == 200, answer.body
            assert generation(answer.json["refresh_token"]) == generation(second.refresh)


def test_a_replay_ends_the_session_on_every_worker(arena: Arena) -> None:
    member = arena.join()
    first, other = member.log_in(), member.log_in()
    second = tokens_of(refresh(arena, first))
    # A request with the new access token confirms the second generation.
    assert arena.call("GET", "/auth/me", token=second.access).status == 200
    arena.age_rotations(GRACE_SECONDS)
    with connections_to_workers(arena.server) as connections:
        assert {connection.ask(me(second.access)).status for connection in connections} == {200}
        assert refresh(arena, first).outcome == REVOKED
        assert {connection.ask(me(second.access)).outcome for connection in connections} == {REVOKED}
    assert refresh(arena, second).outcome == REVOKED
    assert arena.call("GET", "/auth/me", token=other.access).status == 200


def test_a_logout_is_visible_on_every_worker_at_the_next_request(arena: Arena) -> None:
    member = arena.join()
    with connections_to_workers(arena.server) as connections:
        for leaving in connections:
            tokens = member.log_in()
            assert {connection.ask(me(tokens.access)).status for connection in connections} == {200}
            assert log_out(leaving, tokens).status == 204
            assert {connection.ask(me(tokens.access)).outcome for connection in connections} == {REVOKED}


def log_out(connection: Connection, tokens: Tokens) -> Answer:
    """End a session by its access token."""
    return connection.ask(request(f"POST {API}/auth/logout HTTP/1.1", bearer(tokens.access)))


def test_a_change_of_password_ends_the_other_sessions_on_every_worker(arena: Arena) -> None:
    member = arena.join()
    own, other = member.log_in(), member.log_in()
    assert set(outcomes_on_workers(arena, me(other.access))) == {(200, "")}
    assert change_password(arena, own.access, PASSWORD, NEW_PASSWORD).status == 204
    assert set(outcomes_on_workers(arena, me(other.access))) == {REVOKED}
    assert set(outcomes_on_workers(arena, me(own.access))) == {(200, "")}


def test_a_role_that_was_taken_away_opens_nothing_on_any_worker(arena: Arena) -> None:
    admin, former = arena.join("admin"), arena.join("admin")
    tokens = former.log_in()
    audit = request(f"GET {API}/audit HTTP/1.1", bearer(tokens.access))
    assert set(outcomes_on_workers(arena, audit)) == {(200, "")}
    taken = arena.call("PATCH", f"/users/{former.id}", token=admin.log_in().access, body={"role": "user"})
    assert taken.status == 200, taken.content
    assert {status for status, _ in outcomes_on_workers(arena, audit)} <= {401, 403}


def test_an_idempotency_key_gives_the_first_answer_again_on_every_worker(arena: Arena) -> None:
    member = arena.join()
    key = f"Idempotency-Key: post-{member.id}"
    data = json_request(
        "POST", f"{API}/posts", {"title": "Once", "content": "Text."}, bearer(member.log_in().access), key
    )
    with connections_to_workers(arena.server) as connections:
        answers = [connection.ask(data) for connection in connections * 2]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, *["true"] * 3]
    assert arena.number("SELECT count(*) FROM posts WHERE author_id = :id", id=member.id) == 1


def test_several_cookie_lines_are_one_cookie_string(arena: Arena) -> None:
    """RFC 9113 section 8.2.3. Proxies split them, and each server joins them in its own way."""
    member = arena.join()
    body = {"email": member.email, "password": PASSWORD, "cookie": True}
    answer = arena.call("POST", "/auth/login", body=body)
    csrf = f"X-CSRF-TOKEN: {answer.json['csrf_token']}"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    name = cookie.partition("=")[0]
    for lines in (
        [cookie],
        ["theme=dark", cookie],
        [cookie, "theme=dark"],
        ["a=b; c=d", f"e=f; {cookie}; g=h", "i=j"],
        [cookie, cookie],
        [f"{name}=", cookie],
        [f"{name}=tossed", cookie],
        [f"{cookie}; {name}=tossed"],
    ):
        headers = [f"Cookie: {line}" for line in lines]
        with Connection(arena.server) as connection:
            refreshed = connection.ask(request(f"POST {API}/auth/refresh HTTP/1.1", csrf, *headers))
        assert refreshed.status == 200, (lines, refreshed.body)
        cookie = refreshed.headers["set-cookie"].partition(";")[0]


def test_an_empty_authorization_header_is_no_credential(arena: Arena) -> None:
    for header in ("Authorization:", "Authorization: ", "Authorization: \t "):
        with Connection(arena.server) as connection:
            assert connection.ask(request(f"GET {API}/auth/me HTTP/1.1", header)).outcome == (
                401,
                "authentication_required",
            )
            assert connection.ask(request(f"GET {API}/posts HTTP/1.1", header)).status == 200
