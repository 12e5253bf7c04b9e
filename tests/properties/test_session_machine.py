"""Stateful property test: for any sequence of events, responses and rows are those of the session model."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from werkzeug.test import TestResponse

from app import create_app
from app.auth import sessions
from app.auth.models import Session
from app.auth.sessions import Client
from app.auth.tokens import make_access_token
from app.database import fetch_all, transaction
from app.users.service import create_user
from tests.auth.support import claims_of, reissue
from tests.conftest import API, PASSWORD, Clock, problem, quick_password_hash, settings_for
from tests.properties.examples import examples
from tests.properties.session_model import GRACE_USES, MAX_SESSIONS, OK, Account, Answer, ModelSession, Pair, Token

NUMBERS = itertools.count()
# Just before, at and after each time limit of the rules.
MOMENTS = [timedelta(seconds=s) for s in (0.5, 1, 5, 9.5, 10, 29.5, 30, 31)]
LONG_TIMES = [*(timedelta(seconds=s) for s in (60, 840, 900, 930)), *(timedelta(days=d) for d in (1, 6.5, 7))]
BACK = [-timedelta(seconds=s) for s in (1, 5, 30, 31)]
SPANS = st.lists(st.sampled_from([*MOMENTS, *BACK]), min_size=1, max_size=3)
# The session of an event, counted from the newest live one; negative numbers select an ended one.
PLACES = st.sampled_from([0, 0, 0, 1, 1, 2, 3, -1, -2])


def any_token_of(draw: Any, pairs: list[Pair]) -> Pair:
    """Draw one of some pairs, shrinking towards the newest."""
    pair: Pair = draw(st.sampled_from(pairs[::-1]))
    return pair


class SessionMachine(RuleBasedStateMachine):
    """Two accounts with sessions on several devices, and the requests of clients and attackers."""

    def __init__(self, app: Flask, clock: Clock) -> None:
        super().__init__()
        self.app, self.clock = app, clock
        self.client = app.test_client()
        clock.now = self.latest = datetime(2030, 1, 1, tzinfo=UTC)
        with app.app_context(), transaction():
            self.accounts = [self._join() for _ in range(2)]
            self.admin_id = self._join("admin").id

    def _join(self, role: str = "user") -> Account:
        email = f"member-{next(NUMBERS)}@example.com"
        return Account(create_user(email, "Member", quick_password_hash(), role).id, email, PASSWORD)

    def _call(self, method: str, path: str, token: str | None = None, **options: Any) -> TestResponse:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.open(API + path, method=method, headers=headers, **options)

    def _begin(self, account: Account) -> None:
        """Log in to an enabled account with its password."""
        response = self._call("POST", "/auth/login", json={"email": account.email, "password": account.password})
        answered(response, OK)
        answer = response.get_json()
        session = account.begin(claims_of(answer["refresh_token"])["sid"], self.clock.now)
        session.give(answer["access_token"], answer["refresh_token"], 1, self.clock.now)

    def _session(self, place: int) -> ModelSession:
        if not self._known(is_live=True):
            # Otherwise most events would concern ended sessions.
            self._open(self.accounts[0])
            self._begin(self.accounts[0])
        known = self._known(is_live=place >= 0) or self._known(is_live=True)
        return known[abs(place) % len(known)]

    def _known(self, *, is_live: bool) -> list[ModelSession]:
        """Return the live sessions or the ended ones, newest first."""
        now = self.clock.now
        known = [s for account in self.accounts for s in account.sessions if s.is_live(now) == is_live]
        return sorted(known, key=lambda session: session.id, reverse=True)

    # Every example begins with a login and the reuse of a replaced token.
    @initialize(spans=SPANS, then=st.sampled_from([0, 0, GRACE_USES]))
    def begin(self, spans: list[timedelta], then: int) -> None:
        self._begin(self.accounts[0])
        self.refresh_again_later(0, spans, then)

    @rule(of=st.integers(0, 1), is_right=st.sampled_from([True, True, False]))
    def log_in(self, of: int, is_right: bool) -> None:
        account = self.accounts[of]
        password = account.password if is_right else account.former_password
        if account.log_in(password) == OK:
            self._begin(account)
            return
        response = self._call("POST", "/auth/login", json={"email": account.email, "password": password})
        answered(response, account.log_in(password))

    @rule(of=st.integers(0, 1))
    def log_in_on_every_device(self, of: int) -> None:
        for _ in range(MAX_SESSIONS):
            self.log_in(of, is_right=True)

    @rule(
        place=PLACES,
        back=st.sampled_from([0, 0, 0, 1, 1, 2]),
        times=st.sampled_from([1, 2, 1 + GRACE_USES]),
        data=st.data(),
    )
    def refresh(self, place: int, back: int, times: int, data: st.DataObject) -> None:
        session = self._session(place)
        generation = max(session.generation - back, 1)
        pair = any_token_of(data.draw, [pair for pair in session.pairs if pair.generation == generation])
        while times and self._refresh(session, pair.refresh) == OK:
            times -= 1

    @rule(place=PLACES)
    def refresh_the_newest(self, place: int) -> None:
        session = self._session(place)
        self._refresh(session, session.pairs[-1].refresh)

    @rule(
        place=PLACES,
        spans=SPANS,
        then=st.sampled_from([0, 0, GRACE_USES]),
    )
    def refresh_again_later(self, place: int, spans: list[timedelta], then: int) -> None:
        """Reuse a replaced token, as a second tab, a retry or an attacker does. Random events do so too rarely."""
        session = self._session(place)
        pair = session.pairs[-1]
        self._forward(timedelta(seconds=2))
        self._refresh(session, pair.refresh)
        for span in spans:
            self._forward(span)
            self._refresh(session, pair.refresh)
        while then and self._refresh(session, pair.refresh) == OK:
            then -= 1

    @rule(place=PLACES, spans=st.lists(st.sampled_from([0.5, 2.0, 4.0, 5.0, 9.5]), min_size=3, max_size=6))
    def refresh_in_quick_succession(self, place: int, spans: list[float]) -> None:
        """Rotate several times, and after each time reuse one of the tokens that were replaced."""
        session = self._session(place)
        first = len(session.pairs)
        for number, span in enumerate(spans):
            self._refresh(session, session.pairs[-1].refresh)
            self.look_with(session, session.pairs[-1].access)
            self._forward(timedelta(seconds=span))
            self._refresh(session, session.pairs[min(first - 1 + number // 2, len(session.pairs) - 1)].refresh)

    @rule(place=PLACES, days=st.sampled_from([6, 6.9]))
    def stay_for_weeks(self, place: int, days: float) -> None:
        session = self._session(place)
        for _ in range(5):
            self._forward(timedelta(days=days))
            self._refresh(session, session.pairs[-1].refresh)

    @rule(place=PLACES, data=st.data())
    def refresh_with_any(self, place: int, data: st.DataObject) -> None:
        session = self._session(place)
        pair = any_token_of(data.draw, session.pairs)
        self._refresh(session, pair.refresh)

    @rule(place=PLACES)
    def refresh_with_one_from_the_future(self, place: int) -> None:
        session = self._session(place)
        issued, generation = int(self.clock.now.timestamp()), session.generation + 1
        expires = issued + int(timedelta(days=7).total_seconds())
        text = reissue(session.pairs[-1].refresh.text, gen=generation, iat=issued, nbf=issued, exp=expires)
        self._refresh(session, Token(text, generation, issued, expires))

    def _refresh(self, session: ModelSession, token: Token) -> Answer:
        expected = session.refresh(token, self.clock.now)
        response = self._call("POST", "/auth/refresh", token.text)
        answered(response, expected)
        if expected == OK:
            answer = response.get_json()
            claims = claims_of(answer["refresh_token"])
            assert (claims["gen"], claims["sid"]) == (session.generation, session.id)
            assert answer["refresh_expires_in"] == round((session.idle_ends - self.clock.now).total_seconds())
            session.give(answer["access_token"], answer["refresh_token"], session.generation, self.clock.now)
        return expected

    @rule(place=PLACES, data=st.data())
    def look(self, place: int, data: st.DataObject) -> None:
        session = self._session(place)
        self.look_with(session, any_token_of(data.draw, session.pairs).access)

    def look_with(self, session: ModelSession, token: Token) -> None:
        """Send a request with an access token, which confirms its generation."""
        answered(self._call("GET", "/auth/me", token.text), session.use(token, self.clock.now))

    @rule(place=PLACES)
    def list_sessions(self, place: int) -> None:
        session = self._session(place)
        token, now = session.pairs[-1].access, self.clock.now
        response = self._call("GET", "/auth/sessions", token.text)
        answered(response, session.use(token, now))
        if response.status_code == 200:
            shown = {(item["id"], item["current"]) for item in response.get_json()["items"]}
            assert shown == {(s.id, s is session) for s in session.account.sessions if s.is_live(now)}

    @rule(place=PLACES, data=st.data(), by_refresh=st.booleans())
    def log_out(self, place: int, data: st.DataObject, by_refresh: bool) -> None:
        session = self._session(place)
        pair = any_token_of(data.draw, session.pairs)
        token = pair.refresh if by_refresh else pair.access
        expected = session.log_out(token, self.clock.now)
        answered(self._call("POST", "/auth/logout", token.text), expected)

    @rule(place=PLACES, other_place=PLACES)
    def end_one(self, place: int, other_place: int) -> None:
        session = self._session(place)
        token, other = session.pairs[-1].access, self._session(other_place)
        expected = session.end_one(token, other, self.clock.now)
        answered(self._call("DELETE", f"/auth/sessions/{other.id}", token.text), expected)

    @rule(place=PLACES, include_current=st.booleans())
    def end_others(self, place: int, include_current: bool) -> None:
        session = self._session(place)
        token = session.pairs[-1].access
        expected = session.end_others(token, self.clock.now, include_current=include_current)
        path = "/auth/sessions?include_current=true" if include_current else "/auth/sessions"
        answered(self._call("DELETE", path, token.text), expected)

    @rule(place=PLACES, is_right=st.sampled_from([True, True, False]))
    def change_password(self, place: int, is_right: bool) -> None:
        session = self._session(place)
        token, new = session.pairs[-1].access, f"another tall lamp {next(NUMBERS)}"
        current = session.account.password if is_right else "not the password"
        body = {"current_password": current, "new_password": new}
        expected = session.change_password(token, current, new, self.clock.now)
        answered(self._call("POST", "/auth/password", token.text, json=body), expected)

    @rule(of=st.integers(0, 1), reopens=st.sampled_from([True, True, False]))
    def disable(self, of: int, reopens: bool) -> None:
        account = self.accounts[of]
        self._administer(account, is_active=False)
        account.disable(self.clock.now)
        if reopens:
            self._open(account)

    def _open(self, account: Account) -> None:
        self._administer(account, is_active=True)
        account.is_active = True

    def _administer(self, account: Account, **changes: Any) -> None:
        with self.app.app_context():
            with transaction():
                grant = sessions.open_session(self.admin_id, Client("127.0.0.1", "pytest"))
            token = make_access_token(grant, fresh=True)
        answered(self._call("PATCH", f"/users/{account.id}", token, json=changes), OK)

    @rule(span=st.sampled_from(MOMENTS))
    def moments_pass(self, span: timedelta) -> None:
        self._forward(span)

    @rule(span=st.sampled_from(LONG_TIMES))
    def much_time_passes(self, span: timedelta) -> None:
        self._forward(span)

    def _forward(self, span: timedelta) -> None:
        self.clock.now += span
        self.latest = max(self.latest, self.clock.now)

    @precondition(lambda self: self.clock.now >= self.latest)
    @rule(span=st.sampled_from(BACK))
    def clock_is_set_back(self, span: timedelta) -> None:
        self.clock.now += span

    @invariant()
    def rows_are_as_modelled(self) -> None:
        ids = [account.id for account in self.accounts]
        times = (Session.rotated_at, Session.last_used_at, Session.idle_expires_at, Session.expires_at)
        numbers = (Session.generation, Session.confirmed_generation, Session.grace_uses)
        columns = (Session.id, *numbers, Session.revoked_at.is_not(None), *times)
        modelled = [session for account in self.accounts for session in account.sessions]
        with self.app.app_context():
            rows = {tuple(row) for row in fetch_all(select(*columns).where(Session.user_id.in_(ids)))}
        assert rows == {
            (s.id, s.generation, s.confirmed, s.grace_uses, s.is_revoked, s.rotated, s.last_used, s.idle_ends, s.ends)
            for s in modelled
        }


def answered(response: TestResponse, expected: Answer) -> None:
    """Check that a response is the one of the model."""
    actual = (response.status_code, "") if response.status_code < 400 else problem(response)
    assert actual == expected


def test_sessions_behave_like_the_model(app: Flask, database_url: str, everybodys_clock: Clock) -> None:
    few = create_app(settings_for(database_url, max_sessions_per_user=MAX_SESSIONS))

    class Machine(SessionMachine):
        def __init__(self) -> None:
            super().__init__(few, everybodys_clock)

    run_state_machine_as_test(Machine, settings=examples(12, steps=30))
