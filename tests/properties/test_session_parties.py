"""Stateful property test: an honest client is never signed out, and of an owner and a thief at most one goes on.

The tabs of a client share the newest refresh token. Responses get lost, requests overtake each other, and the clock of
the server is set back. "True" time is what passes in reality.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from flask import Flask
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.auth import sessions
from app.auth.sessions import Client
from app.auth.tokens import make_access_token, make_refresh_token
from app.database import transaction
from app.users.service import create_user
from tests.auth.support import claims_of, get_me, refresh, session_row
from tests.conftest import Clock, problem, quick_password_hash
from tests.properties.examples import examples

NUMBERS = itertools.count()
GRACE, LEEWAY = timedelta(seconds=10), timedelta(seconds=30)
SPANS = st.sampled_from([timedelta(seconds=s) for s in (0, 0.5, 2, 5, 9.5, 10, 11, 31, 60, 900)])
BACK = st.sampled_from([timedelta(seconds=s) for s in (1, 5, 29, 31, 120)])


@dataclass
class Party:
    """The owner or a thief, with the newest tokens that it has received."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    goes_on: bool = True


class Parties(RuleBasedStateMachine):
    """One session, and the requests of its parties."""

    def __init__(self, app: Flask, clock: Clock) -> None:
        super().__init__()
        self.app, self.clock, self.client = app, clock, app.test_client()
        clock.now = self.latest = datetime(2030, 1, 1, tzinfo=UTC)
        self.true_seconds = timedelta()
        # The true time at which the server replaced a generation, and a refresh token of each generation.
        self.replaced: dict[int, timedelta] = {}
        with app.app_context():
            with transaction():
                user = create_user(f"party-{next(NUMBERS)}@example.com", "Member", quick_password_hash(), "user")
                grant = sessions.open_session(user.id, Client("127.0.0.1", "pytest"))
            access = make_access_token(grant, fresh=True)
            token = make_refresh_token(grant, lifetime=timedelta(days=7))
        self.session_id = grant.session_id
        self.owner = Party(access, token)
        self.tokens = {1: token}

    def pass_time(self, span: timedelta) -> None:
        """Let time pass, for people and for the server."""
        self.true_seconds += span
        self.clock.now += span
        self.latest = max(self.latest, self.clock.now)

    def show(self, party: Party, token: str, *, is_lost: bool = False) -> int:
        """Refresh with a token, which may be an older one of the party; return the status."""
        before = session_row(self.app, self.session_id).generation
        response = refresh(self.client, token)
        if response.status_code != 200:
            problem(response)
            return response.status_code
        answer = response.get_json()
        given = claims_of(answer["refresh_token"])["gen"]
        self.tokens[given] = answer["refresh_token"]
        if given > before:
            self.replaced[before] = self.true_seconds
        if not is_lost:
            party.access, party.refresh = answer["access_token"], answer["refresh_token"]
        return 200

    def work(self, party: Party) -> int:
        """Send a request with the access token; return the status."""
        return get_me(self.client, party.access).status_code

    @rule(is_lost=st.booleans())
    def owner_refreshes(self, is_lost: bool) -> None:
        self.show(self.owner, self.owner.refresh, is_lost=is_lost)

    @rule()
    def owner_refreshes_and_works(self) -> None:
        if self.show(self.owner, self.owner.refresh) == 200:
            self.work(self.owner)

    @rule()
    def owner_works(self) -> None:
        self.work(self.owner)

    @rule(data=st.data(), is_lost=st.booleans())
    def another_tab_is_late(self, data: st.DataObject, is_lost: bool) -> None:
        """Show a token that was replaced less than the grace period ago: the request was on its way."""
        late = [gen for gen, since in self.replaced.items() if self.true_seconds - since < GRACE]
        if late:
            self.show(self.owner, self.tokens[data.draw(st.sampled_from(late))], is_lost=is_lost)

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.pass_time(span)

    @rule(span=BACK)
    def the_clock_is_set_back(self, span: timedelta) -> None:
        self.clock.now -= span

    @rule(span=BACK)
    def the_clock_is_set_back_between_two_tabs(self, span: timedelta) -> None:
        """Show a token that was just replaced, after its successor was used and the clock set back."""
        former = self.owner.refresh
        self.pass_time(timedelta(seconds=5))
        # The period of a token whose response was lost has begun with that, so another tab may not be late then.
        is_newest = claims_of(former)["gen"] not in self.replaced
        if self.show(self.owner, former) == 200 and is_newest:
            self.work(self.owner)
            self.clock.now -= span
            self.show(self.owner, former)

    def let_the_clock_catch_up(self) -> None:
        """Wait until the server's clock shows a later time than ever, and every grace period is over."""
        self.pass_time(self.latest - self.clock.now + LEEWAY + GRACE)


class HonestClient(Parties):
    """The owner alone."""

    @invariant()
    def the_session_lives(self) -> None:
        assert session_row(self.app, self.session_id).revoked_at is None

    def teardown(self) -> None:
        self.let_the_clock_catch_up()
        assert self.show(self.owner, self.owner.refresh) == 200
        assert self.work(self.owner) == 200
        self.the_session_lives()


class OwnerAndThief(Parties):
    """The owner, and a thief with a copy of the tokens."""

    @initialize()
    def the_tokens_are_stolen(self) -> None:
        self.thief = Party(self.owner.access, self.owner.refresh)

    @rule()
    def they_are_stolen_again(self) -> None:
        self.thief = Party(self.owner.access, self.owner.refresh)

    @rule(is_lost=st.booleans())
    def thief_refreshes(self, is_lost: bool) -> None:
        self.show(self.thief, self.thief.refresh, is_lost=is_lost)

    @rule()
    def thief_refreshes_and_works(self) -> None:
        if self.show(self.thief, self.thief.refresh) == 200:
            self.work(self.thief)

    def teardown(self) -> None:
        """Let both refresh and work in turn. The second one to show a token that the other has replaced ends it."""
        self.let_the_clock_catch_up()
        for _ in range(2):
            for party in (self.owner, self.thief):
                party.goes_on = self.show(party, party.refresh) == 200 and self.work(party) == 200
                self.pass_time(GRACE)
        assert not (self.owner.goes_on and self.thief.goes_on)
        # If the owner was refused, then because the session has ended: the thief does not go on either.
        assert self.owner.goes_on or session_row(self.app, self.session_id).revoked_at is not None


def test_no_honest_client_is_signed_out(app: Flask, everybodys_clock: Clock) -> None:
    class Machine(HonestClient):
        def __init__(self) -> None:
            super().__init__(app, everybodys_clock)

    run_state_machine_as_test(Machine, settings=examples(60, steps=25))


def test_an_owner_and_a_thief_do_not_both_go_on(app: Flask, everybodys_clock: Clock) -> None:
    class Machine(OwnerAndThief):
        def __init__(self) -> None:
            super().__init__(app, everybodys_clock)

    run_state_machine_as_test(Machine, settings=examples(60, steps=25))
